"""The cure for a shortcut: scenes in which an object's size tells nothing of its shape, to train the same models on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from cilp import params

FIRST_SCENE = 2_000_000
"""Number of the first scene that is rendered: beyond any that another stage may see."""
MOST_SCENES = 100_000
INPUTS = ("normalised", "plain")
NESTED = ("seeds", "simulate", "pretraining")
"""Of the section, what is no field of ``RandomSizeParams``."""
LEAST_FACTOR = 0.001
P = TypeVar("P")


@dataclass(frozen=True)
class RandomSizeParams:
    """How many scenes train and validate, how fusions see them and are trained, and how long CILP's course is."""

    train: int
    valid: int
    inputs: str
    """``normalised``: of the fusions, as ``cilp.models.normalised_fusion`` does. ``plain``: as in the study."""
    lr_factor: float
    """Of the fusions: times ``fusion.*.lr``."""
    auxiliary_losses: list[str]
    """Fusions that are trained once more, with max-pooling and a loss for each sensor."""
    cilp_steps: int
    """On CILP's course, of image classifiers and fusions; CILP itself takes those of its own section."""

    def __post_init__(self) -> None:
        if self.inputs not in INPUTS:
            raise ValueError(f"inputs is {self.inputs!r}; legal values: {', '.join(INPUTS)}.")
        if not LEAST_FACTOR <= self.lr_factor <= 1 / LEAST_FACTOR:
            raise ValueError(
                f"lr_factor must lie between {LEAST_FACTOR} and {1 / LEAST_FACTOR:g}; got {self.lr_factor}."
            )
        for name, most in (("train", MOST_SCENES), ("valid", MOST_SCENES), ("cilp_steps", 10**7)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be a whole number from 1 to {most:,}; got {getattr(self, name)}.")

    def slowed(self, protocol: P) -> P:
        """How a fusion is trained, at the learning rate of this part."""
        lr = self.lr_factor * protocol.lr
        return replace(protocol, lr=lr, lr_min=min(protocol.lr_min, lr))

    def scenes(self) -> dict[str, range]:
        """Numbers of the scenes, by split."""
        end = FIRST_SCENE + self.train
        return {"train": range(FIRST_SCENE, end), "val": range(end, end + self.valid)}


@dataclass(frozen=True)
class PretrainingParams:
    """Which scenes CILP is pretrained on: those that train, and further ones."""

    unlabelled: int
    """How many further ones."""
    matched_twins: bool
    """Whether the sphere of each is as large as its cube: else size tells which image belongs to which range image."""

    def __post_init__(self) -> None:
        if not 0 <= self.unlabelled <= MOST_SCENES:
            raise ValueError(f"unlabelled must be a whole number from 0 to {MOST_SCENES:,}; got {self.unlabelled}.")

    def scenes(self, labelled: Mapping[str, range]) -> dict[str, list[int]]:
        """Numbers of the scenes, by split, beside the ``labelled`` ones."""
        end = labelled["val"].stop
        return {"train": [*labelled["train"], *range(end, end + self.unlabelled)], "val": [*labelled["val"]]}


def sizes(settings: dict[str, Any]) -> RandomSizeParams:
    """The section ``random_size`` without what is nested in it."""
    values = params.lookup(settings, "random_size")
    if isinstance(values, dict):
        values = {name: value for name, value in values.items() if name not in NESTED}
    return params.section({"random_size": values}, "random_size", RandomSizeParams)
