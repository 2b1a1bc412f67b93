"""What few labelled scenes make of CILP's frozen embeddings: heads, and the bridge to a LiDAR classifier."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from cilp.classifiers.fewer_scenes import head_on, long_enough
from cilp.classifiers.transfer import TransferProtocol, train_bridge
from cilp.embeddings import Embedded, embed_split
from cilp.models.lidar import LidarClassifier
from cilp.training.classifier import TrainingParams
from cilp.training.inputs import Split
from cilp.training.loop import Run


class Pretrained(NamedTuple):
    """Each classifies embeddings (N, 200) -> logits (N,)."""

    on_views: nn.Module
    """A head on LiDAR embeddings."""
    on_images: nn.Module
    """A head on image embeddings, for which no LiDAR classifier is needed."""
    bridge: nn.Module
    """A LiDAR classifier's head on projected image embeddings: the RGB-to-LiDAR classifier."""


def train_pretrained(
    images: Sequence[Embedded], views: Sequence[Embedded], splits: Sequence[Split], lidar: LidarClassifier,
    head: TrainingParams, transfer: TransferProtocol, least_steps: int, seed: int, label: str,
) -> Pretrained:  # fmt: skip
    """Train all three on the same training and validation scenes.

    Args:
        images, views: training and validation scenes as CILP's frozen embedders see them.
        splits: the scenes themselves, for the LiDAR classifier.
        lidar: trained on these scenes; frozen from here on.
        head, transfer: protocols, each prolonged to ``least_steps``.
    """
    on_cilp = long_enough(head, len(splits[0]), least_steps)
    on_views, on_images = (
        head_on(*embeddings, on_cilp, Run(seed, f"head, {sensor}, {label}")).model
        for sensor, embeddings in (("LiDAR", views), ("image", images))
    )
    bridge = train_bridge_to(lidar, images, splits, transfer, least_steps, seed, label)
    return Pretrained(on_views, on_images, bridge)


def train_bridge_to(
    lidar: LidarClassifier, images: Sequence[Embedded], splits: Sequence[Split], transfer: TransferProtocol,
    least_steps: int, seed: int, label: str,
) -> nn.Module:  # fmt: skip
    """The last of the three alone; arguments are those of ``train_pretrained``."""
    samples = len(splits[0])
    through = TransferProtocol(
        long_enough(transfer.projector, samples, least_steps), long_enough(transfer.rgb2lidar, samples, least_steps)
    )
    frozen = lidar.requires_grad_(False).eval()
    wanted = [embed_split(frozen.embedder, split).embedding for split in splits]
    return train_bridge(images, wanted, frozen, through, seed, label).model
