"""A loss for each sensor beside that of the fusion, so that no encoder is left behind once the other has learned.

A fusion that learns from one loss goes by the sensor that it learns first: what is left of the gradient no longer
teaches the other (modality competition, Huang et al. 2022, arXiv:2203.12221). Here a head on either encoder classifies
as well while the fusion trains, and is left aside afterwards. Wang et al. 2020 (arXiv:1905.12681) weight such losses;
here they count alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cilp.models.fusion import TwoEncoders
from cilp.training.inputs import Split
from cilp.training.variation import View

LOGITS = 3
"""Of the fusion, of the image and of the LiDAR."""


class AuxiliaryLosses(nn.Module):
    """A fusion that gives (B, 3) logits while it trains: its own, and those of a head on either encoder."""

    def __init__(self, fusion: TwoEncoders):
        super().__init__()
        self.fusion = fusion
        self.heads = nn.ModuleList(fusion.sensor_head() for _ in range(LOGITS - 1))

    def forward(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        """RGBA and XYZA (B, 4, 64, 64) each, as the fusion takes them -> (B, 3), or (B,) in evaluation."""
        if not self.training:
            return self.fusion(rgb, lidar)
        encoded = self.fusion.encode(rgb, lidar * self.fusion.xyz_unit)
        apart = (head(part) for head, part in zip(self.heads, encoded, strict=True))
        return torch.cat([self.fusion.merge(*encoded), *apart], dim=1)


def with_losses(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """What builds the network that ``build`` makes, a fusion or what holds one as ``fusion``, with heads on it.

    It raises ``TypeError`` if that fusion has no encoder for each sensor.
    """

    def built(**arguments: Any) -> nn.Module:
        network = build(**arguments)
        fusion = getattr(network, "fusion", network)
        if not isinstance(fusion, TwoEncoders):
            raise TypeError(f"{type(fusion).__name__} has no encoder for each sensor")
        losses = AuxiliaryLosses(fusion)
        if fusion is network:
            return losses
        network.fusion = losses
        return network

    return built


def without_losses(network: nn.Module) -> nn.Module:
    """The network that ``with_losses`` put heads on, without them."""
    if isinstance(network, AuxiliaryLosses):
        return network.fusion
    network.fusion = network.fusion.fusion
    return network


@dataclass(frozen=True)
class OneLabelEach(Split):
    """A split with a label for each of several logits: (N, logits). The mean loss then weights them alike."""

    split: Split

    @classmethod
    def of(cls, split: Split, logits: int = LOGITS) -> "OneLabelEach":
        """The same samples."""
        each = split.label.unsqueeze(1).expand(-1, logits)
        return cls(**{**vars(Split.of(split)), "label": each}, split=split)

    def inputs(self, rows: Tensor | slice, view: View | None = None) -> tuple[Tensor, ...]:
        """As of the split itself."""
        return self.split.inputs(rows, view)

    def names(self, rows: Tensor) -> str:
        """As of the split itself."""
        return self.split.names(rows)
