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
MODELS = {"lidar": "LiDAR classifier", "rgb2lidar": "RGB-to-LiDAR classifier"}


def title(model: str) -> str:
    """The title of a model of the predictions, such as ``fusion/late-maxpool`` or ``lidar``.

    ``-dropout`` behind a variant stands for its training with modality dropout.
    """
    if model in MODELS:
        return MODELS[model]
    fusion, _, downsampling = model.removeprefix("fusion/").removesuffix("-dropout").partition("-")
    name = f"{TITLES.get(fusion, fusion)}, {DOWNSAMPLING_TITLES.get(downsampling, downsampling)}"
    return f"{name}, modality dropout" if model.endswith("-dropout") else name
