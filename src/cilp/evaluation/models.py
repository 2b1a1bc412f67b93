"""Which trained classifiers there are to evaluate, by the names that predictions and checkpoints go by."""

from collections.abc import Mapping, Sequence
from typing import Any

from cilp import params

BASELINES = ("rgb", "lidar")
"""Fusions that see one sensor alone."""
DECISION = "decision"
"""Decision-level fusion: nothing is trained, the two baselines are both asked (``cilp.models.decision``)."""
IMAGE = ("image_supervised", "image_distilled")
"""What CILP is measured against: image classifiers that take as many steps, on labels and on the LiDAR classifier's
answers."""
ON_IMAGES = (*IMAGE, "rgb2lidar")
"""Classifiers of the CILP half that see images."""
SINGLE = ("lidar", "rgb2lidar", *IMAGE)
"""Classifiers of the CILP half, which see one sensor as well."""
SIZE_RULE = "size_rule"
"""No network but one threshold on the area that the LiDAR sees (``cilp.models.size_rule``), the same for every seed."""


def variants(settings: dict[str, Any]) -> list[str]:
    """Every trained fusion: each declared one in every declared downsampling, such as ``fusion/late-maxpool``."""
    declared = params.lookup(settings, "variants")
    return _in_each(declared["fusion"], declared["downsampling"])


def fusions(declared: Mapping[str, Sequence[str]]) -> list[str]:
    """The fusions of the section ``variants``, and decision-level fusion if both baselines are among them."""
    decision = [DECISION] if set(BASELINES) <= set(declared["fusion"]) else []
    return [*declared["fusion"], *decision]


def asked(model: str) -> list[str]:
    """The models that decision-level fusion asks, if ``model`` is that: the image's first. Else none."""
    fusion, _, way = model.removeprefix("fusion/").partition("-")
    return [f"fusion/{sensor}-{way}" for sensor in BASELINES] if fusion == DECISION else []


def classifiers(settings: dict[str, Any]) -> list[str]:
    """All classifiers of the study."""
    declared = params.lookup(settings, "variants")
    return [*_in_each(fusions(declared), declared["downsampling"]), *SINGLE]


def on_random_sizes(settings: dict[str, Any]) -> list[str]:
    """All classifiers that are trained on scenes of random size: those with auxiliary losses behind the fusions."""
    return [*_with_auxiliary(settings, "random_size"), *SINGLE]


def on_course(settings: dict[str, Any]) -> list[str]:
    """All fusions that take CILP's course on scenes of random size, likewise."""
    return _with_auxiliary(settings, "fusion_course")


def sensor_dependent(settings: dict[str, Any]) -> list[str]:
    """Fusions of two sensors in the first downsampling, those trained with modality dropout, then CILP's half."""
    declared = params.lookup(settings, "variants")
    way = declared["downsampling"][0]
    both = _in_each([fusion for fusion in fusions(declared) if fusion not in BASELINES], [way])
    dropout = [f"fusion/{fusion}-maxpool-dropout" for fusion in params.lookup(settings, "modality_dropout.fusion")]
    return [*both, *dropout, *(model for model in SINGLE if model not in IMAGE)]


def _in_each(fusions: Sequence[str], downsamplings: Sequence[str]) -> list[str]:
    return [f"fusion/{fusion}-{way}" for fusion in fusions for way in downsamplings]


def _with_auxiliary(settings: dict[str, Any], section: str) -> list[str]:
    fusions = [model for model in classifiers(settings) if model not in SINGLE]
    again = params.lookup(settings, f"{section}.auxiliary_losses")
    return [*fusions, *(f"fusion/{fusion}-maxpool-auxiliary" for fusion in again)]
