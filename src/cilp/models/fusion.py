"""Four ways of fusing an RGBA image with an XYZA range image, each (B, 4, 64, 64), into one sphere-or-cube logit.

A new fusion is one small class here, one entry in ``FUSIONS`` and one block under ``fusion`` in ``params.yaml``.
"""

import torch
from torch import Tensor, nn

from cilp.models.blocks import Downsample, classifier_head, encoder

CHANNELS = 4
"""Channels of either modality: RGBA, and x, y, z with the hit mask."""


class LateFusion(nn.Module):
    """Each modality is encoded to a vector of 100; the two vectors meet in the classifier head."""

    def __init__(self, downsampling: str):
        super().__init__()
        self.rgb, self.lidar = (
            nn.Sequential(
                encoder([CHANNELS, 25, 50, 100], downsampling),  # (B, 100, 8, 8)
                nn.Flatten(),
                nn.Linear(100 * 8 * 8, 100),
            )
            for _ in range(2)
        )
        self.head = classifier_head(200)

    def forward(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        return self.head(torch.cat([self.rgb(rgb), self.lidar(lidar)], dim=1)).squeeze(1)  # (B,)


class IntermediateFusion(nn.Module):
    """Feature maps of the two modalities meet in ``fuse``, before a last convolution and the classifier head."""

    fused_channels = 100

    def __init__(self, downsampling: str):
        super().__init__()
        self.rgb, self.lidar = (encoder([CHANNELS, 50, 100], downsampling) for _ in range(2))  # (B, 100, 16, 16) each
        self.fused = Downsample(self.fused_channels, 100, downsampling)  # (B, 100, 8, 8)
        self.head = nn.Sequential(nn.Flatten(), *classifier_head(100 * 8 * 8))

    def fuse(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        """Two feature maps (B, 100, 16, 16) -> one (B, fused_channels, 16, 16)."""
        raise NotImplementedError

    def forward(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        return self.head(self.fused(self.fuse(self.rgb(rgb), self.lidar(lidar)))).squeeze(1)  # (B,)


class ConcatFusion(IntermediateFusion):
    """Intermediate fusion by concatenation of channels."""

    fused_channels = 200

    def fuse(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        return torch.cat([rgb, lidar], dim=1)


class AddFusion(IntermediateFusion):
    """Intermediate fusion by element-wise addition."""

    def fuse(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        return rgb + lidar


class HadamardFusion(IntermediateFusion):
    """Intermediate fusion by the Hadamard (element-wise) product."""

    def fuse(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        return rgb * lidar


FUSIONS: dict[str, type[nn.Module]] = {
    "late": LateFusion,
    "concat": ConcatFusion,
    "add": AddFusion,
    "hadamard": HadamardFusion,
}


def build(fusion: str, downsampling: str) -> nn.Module:
    """An untrained fusion network; ``ValueError`` names the legal choices."""
    if fusion not in FUSIONS:
        raise ValueError(f"fusion is {fusion!r}; legal values: {', '.join(FUSIONS)}")
    return FUSIONS[fusion](downsampling)
