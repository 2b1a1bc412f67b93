"""What classifiers were trained on, in words, beside the names of their audits."""

from typing import Any

from cilp import params
from cilp.classifiers import random_size
from cilp.errors import UserError
from cilp.training.seeds import check_seeds


def course_seeds(settings: dict[str, Any]) -> list[int]:
    """Seeds of the fusions that take CILP's course; none switches them off."""
    given = params.lookup(settings, "fusion_course.seeds")
    try:
        return [] if given == [] else check_seeds(given)
    except UserError as error:
        raise UserError(f"fusion_course.{error}") from None


def audits(settings: dict[str, Any]) -> dict[str, list[str]]:
    """By what classifiers were trained on, in words, the names of their audits in ``metrics/audit``; the study's
    first."""
    sizes, course = random_size.seeds(settings), course_seeds(settings)
    found = {
        "one size a class": ["fixed_size"],
        random_size.title(settings): [f"random_size-{seed}" for seed in sizes],
        "random sizes along CILP's course": [f"fusion_course-{seed}" for seed in course],
    }
    return {training: names for training, names in found.items() if names}
