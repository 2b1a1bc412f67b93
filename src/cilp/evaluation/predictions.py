"""What trained classifiers say of each sample: read off their checkpoints, kept as one table."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor, nn

from cilp.atomic import replacing
from cilp.errors import UserError
from cilp.models.fusion import Fusion
from cilp.models.lidar import LidarClassifier
from cilp.models.rgb2lidar import RgbToLidar
from cilp.training.checkpoint import load_checkpoint
from cilp.training.device import EVALUATION_BATCH
from cilp.training.inputs import Split

SEES = {Fusion: slice(0, 2), RgbToLidar: slice(0, 1), LidarClassifier: slice(1, 2)}
"""Which of the two views, image and LiDAR, a classifier takes."""


@dataclass(frozen=True)
class Prediction:
    """One classifier's word on one sample."""

    model: str
    seed: int
    split: str
    scene: int
    label: int
    """The true class: cube 0, sphere 1."""
    probability: float
    """Of a sphere, in [0, 1]."""

    @property
    def predicted(self) -> int:
        """The class at a threshold of a half."""
        return int(self.probability > 0.5)


def load_classifier(path: Path, device: torch.device) -> nn.Module:
    """The classifier of a checkpoint, in evaluation mode.

    Raises:
        UserError: the checkpoint is missing, unusable or of no classifier.
    """
    model, _ = load_checkpoint(path, device)
    if not isinstance(model, tuple(SEES)):
        raise UserError(f"{path} holds a {type(model).__name__}, which is no classifier.")
    return model


@torch.inference_mode()
def probabilities(model: nn.Module, split: Split) -> Tensor:
    """Of a sphere, (N,) float64, for every sample of a split in order."""
    views = next(views for kind, views in SEES.items() if isinstance(model, kind))
    size = EVALUATION_BATCH[split.label.device.type]
    parts = [model(*split.inputs(slice(start, start + size))[views]) for start in range(0, len(split), size)]
    return torch.cat(parts).double().sigmoid().cpu()


def predict(name: str, seed: int, model: nn.Module, splits: Mapping[str, Split]) -> Iterator[Prediction]:
    """Predictions of one classifier, called ``name``, on every sample of the given splits."""
    for split, samples in splits.items():
        said = probabilities(model, samples).tolist()
        for scene, label, probability in zip(samples.scene.tolist(), samples.label.int().tolist(), said, strict=True):
            yield Prediction(name, seed, split, scene, label, probability)


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write a CSV, a row a prediction."""
    with replacing(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Prediction)])
        writer.writerows(astuple(prediction) for prediction in predictions)


def read_predictions(path: Path) -> list[Prediction]:
    """Read what ``write_predictions`` wrote.

    Raises:
        UserError: the file is missing.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [
                Prediction(
                    row["model"], int(row["seed"]), row["split"], int(row["scene"]), int(row["label"]),
                    float(row["probability"]),
                )
                for row in csv.DictReader(file)
            ]  # fmt: skip
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run `dvc repro predict` to write it.") from None


def confusion(predictions: Iterable[Prediction], split: str) -> Counter[tuple[str, int, int]]:
    """How many samples of a split, over all seeds, by model, true and predicted class."""
    return Counter((p.model, p.label, p.predicted) for p in predictions if p.split == split)
