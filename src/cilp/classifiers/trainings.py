"""What is audited: on which seeds classifiers are trained where size tells nothing, in words, and on which scenes."""

from typing import Any

from cilp import params
from cilp.classifiers.random_size import sizes
from cilp.errors import UserError
from cilp.training.seeds import check_seeds


def seeds_of(settings: dict[str, Any], section: str) -> list[int]:
    """Seeds of what ``random_size`` or ``fusion_course`` trains; none switches it off.

    Raises:
        UserError: these are no seeds.
    """
    given = params.lookup(settings, f"{section}.seeds")
    try:
        return [] if given == [] else check_seeds(given)
    except UserError as error:
        raise UserError(f"{section}.{error}") from None


def audits(settings: dict[str, Any]) -> dict[str, list[str]]:
    """By what classifiers were trained on, in words, the names of their audits in ``metrics/audit``; the study's
    first."""
    how = sizes(settings)
    rate = "" if how.lr_factor == 1 else f", learning rate × {how.lr_factor:g}"
    found = {"one size a class": ["fixed_size"]}
    for section, words in (
        ("random_size", f"random sizes, {how.inputs} inputs{rate}"),
        ("fusion_course", "random sizes along CILP's course"),
    ):
        found[words] = [f"{section}-{seed}" for seed in seeds_of(settings, section)]
    return {training: names for training, names in found.items() if names}


def conflicts(settings: dict[str, Any]) -> list[str]:
    """The audit's conditions in which image and LiDAR show different shapes: no accuracy, but what a model goes by."""
    conditions = params.lookup(settings, "audit.conditions")
    return [name for name, condition in conditions.items() if condition.get("lidar") == "twin"]
