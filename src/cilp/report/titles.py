"""What models are called in tables and pictures."""

TITLES = {
    "rgb": "image alone",
    "lidar": "LiDAR alone",
    "early": "early",
    "late": "late",
    "concat": "concatenation",
    "add": "addition",
    "hadamard": "Hadamard",
}
DOWNSAMPLING_TITLES = {"maxpool": "max-pooling", "strided": "strided convolution"}
MODELS = {
    "lidar": "LiDAR classifier",
    "rgb2lidar": "RGB-to-LiDAR classifier",
    "image_supervised": "image classifier, supervised",
    "image_distilled": "image classifier, distilled",
    "size_rule": "size rule: one threshold",
}
TRAININGS = {"-dropout": "modality dropout", "-auxiliary": "auxiliary losses"}
"""Behind the name of a variant: how it was trained."""


def title(model: str) -> str:
    """The title of a model of the predictions, such as ``fusion/late-maxpool``, ``fusion/late-maxpool-auxiliary`` or
    ``lidar``."""
    if model in MODELS:
        return MODELS[model]
    ending = next((ending for ending in TRAININGS if model.endswith(ending)), "")
    fusion, _, downsampling = model.removeprefix("fusion/").removesuffix(ending).partition("-")
    name = f"{TITLES.get(fusion, fusion)}, {DOWNSAMPLING_TITLES.get(downsampling, downsampling)}"
    return f"{name}, {TRAININGS[ending]}" if ending else name
