"""Which trained classifiers there are to evaluate, by the names that predictions and checkpoints go by."""

from typing import Any

from cilp import params

BASELINES = ("rgb", "lidar")
"""Fusions that see one sensor alone."""
SINGLE = ("lidar", "rgb2lidar")
"""Classifiers of the CILP half, which see one sensor as well."""


def variants(settings: dict[str, Any]) -> list[str]:
    """Every declared fusion in every declared downsampling, such as ``fusion/late-maxpool``."""
    declared = params.lookup(settings, "variants")
    return [f"fusion/{fusion}-{way}" for fusion in declared["fusion"] for way in declared["downsampling"]]


def classifiers(settings: dict[str, Any]) -> list[str]:
    """All classifiers of the study."""
    return [*variants(settings), *SINGLE]


def sensor_dependent(settings: dict[str, Any]) -> list[str]:
    """Fusions of two sensors in the first downsampling, those trained with modality dropout, then the single ones."""
    declared = params.lookup(settings, "variants")
    way = declared["downsampling"][0]
    fusions = [f"fusion/{fusion}-{way}" for fusion in declared["fusion"] if fusion not in BASELINES]
    dropout = [f"fusion/{fusion}-maxpool-dropout" for fusion in params.lookup(settings, "modality_dropout.fusion")]
    return [*fusions, *dropout, *SINGLE]
