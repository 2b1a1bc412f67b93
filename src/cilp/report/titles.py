"""What models are called in tables and pictures."""

from cilp.report.tables import DOWNSAMPLING_TITLES, TITLES

MODELS = {"lidar": "LiDAR classifier", "rgb2lidar": "RGB-to-LiDAR classifier"}


def title(model: str) -> str:
    """The title of a model of the predictions, such as ``fusion/late-maxpool`` or ``lidar``."""
    if model in MODELS:
        return MODELS[model]
    fusion, _, downsampling = model.removeprefix("fusion/").partition("-")
    return f"{TITLES.get(fusion, fusion)}, {DOWNSAMPLING_TITLES.get(downsampling, downsampling)}"
