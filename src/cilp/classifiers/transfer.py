"""A LiDAR classifier, and what pretrained embedders make of images through its head, trained on any data."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from torch import Tensor

from cilp import params
from cilp.contrastive.projection import ProjectorParams, projected_head, train_projector
from cilp.embeddings import Embedded, embed_split
from cilp.models import lidar
from cilp.models.embedder import Embedder, EmbedderParams
from cilp.models.lidar import LidarClassifier
from cilp.models.rgb2lidar import ProjectedHead, RgbToLidar
from cilp.training.classifier import Epoch, TrainingParams, train_classifier
from cilp.training.inputs import LidarSplit, Split
from cilp.training.loop import Run, Trained


@dataclass(frozen=True)
class TransferProtocol:
    """How the projector is fitted by distance, and then trained on labels."""

    projector: ProjectorParams
    rgb2lidar: TrainingParams

    @classmethod
    def of(cls, settings: dict[str, Any]) -> Self:
        """The sections ``projector`` and ``rgb2lidar``."""
        return cls(
            params.section(settings, "projector", ProjectorParams),
            params.section(settings, "rgb2lidar", TrainingParams),
        )


def train_lidar(
    embedder: EmbedderParams,
    protocol: TrainingParams,
    train: Split,
    valid: Split,
    run: Run[Epoch],
) -> Trained[LidarClassifier, Epoch]:
    """The classifier that knows only LiDAR, from random weights."""
    splits = LidarSplit.of(train), LidarSplit.of(valid)
    return train_classifier(lambda: lidar.build(**embedder.arguments()), *splits, protocol, run, "lidar")


def train_rgb2lidar(
    images: Embedder, classifier: LidarClassifier, protocol: TransferProtocol, train: Split, valid: Split, seed: int,
    label: str,
) -> Trained[RgbToLidar, Epoch]:  # fmt: skip
    """Images through a LiDAR classifier's head: pretrained embedder and head frozen, the projector trains between them.

    First by distance to the LiDAR classifier's embeddings of the same pairs, then on labels.
    """
    seen = [embed_split(images, split) for split in (train, valid)]
    wanted = [embed_split(classifier.embedder, split).embedding for split in (train, valid)]
    done = train_bridge(seen, wanted, classifier, protocol, seed, label)
    return replace(done, model=RgbToLidar(copy.deepcopy(images), done.model))


def train_bridge(
    seen: Sequence[Embedded], wanted: Sequence[Tensor], classifier: LidarClassifier, protocol: TransferProtocol,
    seed: int, label: str,
) -> Trained[ProjectedHead, Epoch]:  # fmt: skip
    """The same on embeddings: image embeddings of training and validation pairs, and those (N, 200) to map them to."""
    both = [(one.embedding, other) for one, other in zip(seen, wanted, strict=True)]
    first, then = (Run(seed, f"{part}, {label}") for part in ("projector", "RGB-to-LiDAR"))
    projector = train_projector(*both, protocol.projector, first, "projector").model
    head = classifier.head
    return train_classifier(lambda: projected_head(projector, head), *seen, protocol.rgb2lidar, then, "rgb2lidar")
