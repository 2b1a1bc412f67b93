"""Training on fewer scenes: which ones, how long, and what pretrained embedders make of them."""

import math
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from cilp import params
from cilp.embeddings import Embedded
from cilp.errors import UserError
from cilp.models.layers.blocks import classifier_head
from cilp.packed import Packed
from cilp.training.classifier import Epoch, TrainingParams, train_classifier
from cilp.training.inputs import Split, directions
from cilp.training.loop import Run, Trained, steps_of_a_pass

P = TypeVar("P", bound=TrainingParams)

DRAWN_BY = "data.subset (unless the source brings its splits along)"
"""What says how many scenes train."""


@dataclass(frozen=True)
class DataEfficiencyParams:
    """On how many scenes, which fusion, and for how many steps at least."""

    scenes: list[int]
    """That train; none switches the comparison off. A share of the validation scenes as large goes with them."""
    fusion: str
    least_steps: int
    """Steps of any training, where the epochs of its protocol would make fewer."""

    def __post_init__(self) -> None:
        if len(set(self.scenes)) != len(self.scenes) or not all(2 <= count <= 10**6 for count in self.scenes):
            raise ValueError(f"scenes must be different whole numbers from 2 to 1,000,000; got {self.scenes}.")
        if not 1 <= self.least_steps <= 10**6:
            raise ValueError(f"least_steps must be a whole number from 1 to 1,000,000; got {self.least_steps}.")


def protocol_of(settings: dict[str, Any]) -> tuple[DataEfficiencyParams, TrainingParams]:
    """The section ``data_efficiency``, and how heads on frozen embeddings are trained, which is nested in it."""
    values = params.lookup(settings, "data_efficiency")
    if isinstance(values, dict):
        values = {name: value for name, value in values.items() if name != "head"}
    asked = params.section({"data_efficiency": values}, "data_efficiency", DataEfficiencyParams)
    return asked, params.section(settings, "data_efficiency.head", TrainingParams)


def few(data: Packed, count: int, seed: int, drawn_by: str = DRAWN_BY) -> dict[str, Tensor]:
    """Rows of ``count`` training scenes, drawn by ``seed`` alone so that more scenes hold the fewer ones, and of
    validation scenes: ``train`` and ``val``, each (N,) int64, counted within the split.

    As large a share of the validation scenes is drawn: who has few labels has few to validate with.

    Raises:
        UserError: there are not as many; ``drawn_by`` is the param that says how many there are.
    """
    scenes = {split: data.scene[data.rows(split)] for split in ("train", "val")}
    there = {split: len(torch.unique(scene)) for split, scene in scenes.items()}
    if count > there["train"]:
        raise UserError(
            f"data_efficiency.scenes asks for {count} scenes, but {there['train']} train; lower it or raise {drawn_by}."
        )
    counts = {"train": count, "val": max(1, round(count / there["train"] * there["val"]))}
    return {split: _drawn(scene, counts[split], seed) for split, scene in scenes.items()}


def _drawn(scene: Tensor, count: int, seed: int) -> Tensor:
    scenes = torch.unique(scene)
    chosen = scenes[torch.randperm(len(scenes), generator=torch.Generator().manual_seed(seed))[:count]]
    return torch.isin(scene, chosen).nonzero().squeeze(1)


def load_rows(data: Packed, split: str, rows: Tensor, device: torch.device) -> Split:
    """Copy some rows of one split of the packed data to ``device``."""
    rows = torch.arange(len(data.scene))[data.rows(split)][rows]
    tensors = {
        "rgb": data.rgb[rows],
        "range": data.range[rows],
        "label": data.label[rows].float(),
        "scene": data.scene[rows],
        "directions": directions(data),
        "sensor": data.sensor[rows].long(),
    }
    return Split(**{name: tensor.to(device) for name, tensor in tensors.items()})


def long_enough(protocol: P, samples: int, least_steps: int) -> P:
    """The protocol with as many epochs as make ``least_steps``, and a batch no larger than there are samples."""
    batch_size = min(protocol.batch_size, samples)
    epochs = math.ceil(least_steps / steps_of_a_pass(samples, batch_size))
    return replace(protocol, batch_size=batch_size, epochs=max(protocol.epochs, epochs))


def side_by_side(rgb: Embedded, lidar: Embedded) -> Embedded:
    """A split as both sensors' frozen embedders see it, one embedding behind the other: (N, 400)."""
    return Embedded(torch.cat([rgb.embedding, lidar.embedding], dim=1), rgb.label)


def head_on(train: Embedded, valid: Embedded, protocol: TrainingParams, run: Run[Epoch]) -> Trained[nn.Module, Epoch]:
    """A classifier's head, trained on frozen embeddings."""
    width = train.embedding.shape[1]

    def build() -> nn.Module:
        return nn.Sequential(*classifier_head(width), nn.Flatten(0))

    return train_classifier(build, train, valid, protocol, run, "data_efficiency.head")
