"""What trained classifiers say of each sample, read off their checkpoints."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from cilp.errors import UserError
from cilp.evaluation.models import SIZE_RULE, asked
from cilp.evaluation.table import Prediction
from cilp.models.decision import DecisionFusion
from cilp.models.embedder import MODALITIES
from cilp.models.fusion import Fusion
from cilp.models.image_classifier import ImageClassifier
from cilp.models.lidar import LidarClassifier
from cilp.models.normalised_fusion import NormalisedFusion
from cilp.models.rgb2lidar import RgbToLidar
from cilp.models.size_rule import SizeRule
from cilp.training.checkpoint import load_checkpoint
from cilp.training.inputs import Split, in_order, seen_by

SEES = {
    Fusion: MODALITIES, NormalisedFusion: MODALITIES, DecisionFusion: MODALITIES,
    RgbToLidar: ("rgb",), ImageClassifier: ("rgb",), LidarClassifier: ("lidar",), SizeRule: ("lidar",),
}  # fmt: skip
"""Which modalities a classifier takes."""


def load_classifier(folder: Path, name: str, seed: int, device: torch.device) -> nn.Module:
    """The classifier of a name such as ``fusion/late-maxpool``, in evaluation mode, from the checkpoints in ``folder``.

    Decision-level fusion has none of its own, but those of the two that it asks; the size rule has one for all seeds.

    Raises:
        UserError: a checkpoint is missing, unusable or of no classifier.
    """
    if parts := asked(name):
        return DecisionFusion(load_classifier(folder, part, seed, device) for part in parts).eval()
    path = folder / (f"{name}.pt" if name == SIZE_RULE else f"{name}/seed-{seed}.pt")
    model, _ = load_checkpoint(path, device)
    if not isinstance(model, tuple(SEES)):
        raise UserError(f"{path} holds a {type(model).__name__}, which is no classifier.")
    return model


def modalities(model: nn.Module) -> tuple[str, ...]:
    """Which modalities a classifier takes: ``rgb``, ``lidar`` or both."""
    return next(taken for kind, taken in SEES.items() if isinstance(model, kind))


@torch.inference_mode()
def probabilities(model: nn.Module, split: Split) -> Tensor:
    """Of a sphere, (N,) float64, for every sample of a split in order."""
    seen = seen_by(split, modalities(model))
    parts = [model(*seen.inputs(rows)) for rows in in_order(len(seen), seen.label.device)]
    return torch.cat(parts).double().sigmoid().cpu()


def predict(name: str, seed: int, model: nn.Module, splits: Mapping[str, Split]) -> Iterator[Prediction]:
    """Predictions of one classifier, called ``name``, on every sample of the given splits."""
    for split, samples in splits.items():
        said = probabilities(model, samples).tolist()
        for scene, label, probability in zip(samples.scene.tolist(), samples.label.int().tolist(), said, strict=True):
            yield Prediction(name, seed, split, scene, label, probability)
