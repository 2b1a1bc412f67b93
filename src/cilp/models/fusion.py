"""Four ways of fusing an RGBA image with an XYZA range image, each (B, 4, 64, 64), into one sphere-or-cube logit.

A new fusion is one small class here, one entry in ``FUSIONS`` and one block under ``fusion`` in ``params.yaml``.
"""

import torch
from torch import Tensor, nn

from cilp.models.blocks import Downsample, classifier_head, encoder
from cilp.models.windows import darkness, emptiness, encode

CHANNELS = 4
"""Channels of either modality: RGBA, and x, y, z with the hit mask."""


class Fusion(nn.Module):
    """What all fusions share: RGBA in [0, 1] as it is, XYZ in units of ``xyz_scale`` metres, one logit a sample.

    In plain metres (``xyz_scale`` 1, as in the reference study) a coordinate is up to 50 times as large as a colour:
    the first steps of Adam overshoot, units die, and many networks go on with the same output for every sample.
    """

    rgb: nn.Sequential
    lidar: nn.Sequential
    """The encoder of each modality: ``Downsample`` blocks."""
    xyz_unit: Tensor

    def __init__(self, xyz_scale: float):
        super().__init__()
        unit = torch.tensor([1 / xyz_scale] * 3 + [1.0]).view(1, CHANNELS, 1, 1)
        self.register_buffer("xyz_unit", unit, persistent=False)

    def logits(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        """Feature maps (B, C, H, W), one from each encoder -> (B, 1)."""
        raise NotImplementedError

    def forward(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        lidar = lidar * self.xyz_unit
        features = encode(self.rgb, rgb, darkness(rgb)), encode(self.lidar, lidar, emptiness(lidar))
        return self.logits(*features).squeeze(1)  # (B,)


class LateFusion(Fusion):
    """Each modality is encoded to a vector of 100; the two vectors meet in the classifier head."""

    def __init__(self, downsampling: str, xyz_scale: float):
        super().__init__(xyz_scale)
        self.rgb, self.lidar = (encoder([CHANNELS, 25, 50, 100], downsampling) for _ in range(2))  # (B, 100, 8, 8) each
        self.rgb_vector, self.lidar_vector = (
            nn.Sequential(nn.Flatten(), nn.Linear(100 * 8 * 8, 100)) for _ in range(2)
        )
        self.head = classifier_head(200)

    def logits(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        return self.head(torch.cat([self.rgb_vector(rgb), self.lidar_vector(lidar)], dim=1))


class IntermediateFusion(Fusion):
    """Feature maps of the two modalities meet in ``fuse``, before a last convolution and the classifier head."""

    fused_channels = 100

    def __init__(self, downsampling: str, xyz_scale: float):
        super().__init__(xyz_scale)
        self.rgb, self.lidar = (encoder([CHANNELS, 50, 100], downsampling) for _ in range(2))  # (B, 100, 16, 16) each
        self.fused = Downsample(self.fused_channels, 100, downsampling)  # (B, 100, 8, 8)
        self.head = nn.Sequential(nn.Flatten(), *classifier_head(100 * 8 * 8))

    def fuse(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        """Two feature maps (B, 100, 16, 16) -> one (B, fused_channels, 16, 16)."""
        raise NotImplementedError

    def logits(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        return self.head(self.fused(self.fuse(rgb, lidar)))


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


FUSIONS: dict[str, type[Fusion]] = {
    "late": LateFusion,
    "concat": ConcatFusion,
    "add": AddFusion,
    "hadamard": HadamardFusion,
}


def build(fusion: str, downsampling: str, xyz_scale: float) -> Fusion:
    """An untrained network that sees XYZ in units of ``xyz_scale`` metres; ``ValueError`` names the legal fusions."""
    if fusion not in FUSIONS:
        raise ValueError(f"fusion is {fusion!r}; legal values: {', '.join(FUSIONS)}")
    return FUSIONS[fusion](downsampling, xyz_scale)
