"""What trained classifiers say of each sample, read off their checkpoints."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from cilp.errors import UserError
from cilp.evaluation.table import Prediction
from cilp.models.fusion import Fusion
from cilp.models.lidar import LidarClassifier
from cilp.models.normalised_fusion import NormalisedFusion
from cilp.models.rgb2lidar import RgbToLidar
from cilp.training.checkpoint import load_checkpoint
from cilp.training.device import EVALUATION_BATCH
from cilp.training.inputs import Split

SEES = {Fusion: slice(0, 2), NormalisedFusion: slice(0, 2), RgbToLidar: slice(0, 1), LidarClassifier: slice(1, 2)}
"""Which of the two views, image and LiDAR, a classifier takes."""


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
