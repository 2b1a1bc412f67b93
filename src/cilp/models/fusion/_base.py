"""What the fusions share."""

import torch
from torch import Tensor, nn

from cilp.models import sparse
from cilp.models.background import darkness, emptiness
from cilp.models.blocks import Downsample, at_once, classifier_head, encoder

CHANNELS = 4
"""Channels of either modality: RGBA, and x, y, z with the hit mask."""


class Fusion(nn.Module):
    """RGBA in [0, 1] as it is, XYZ in units of ``xyz_scale`` metres, one logit a sample.

    In plain metres (``xyz_scale`` 1, as in the reference study) a coordinate is up to 50 times as large as a colour:
    the first steps of Adam overshoot, units die, and many networks go on with the same output for every sample.
    """

    xyz_unit: Tensor

    def __init__(self, downsampling: str, xyz_scale: float):
        super().__init__()
        unit = torch.tensor([1 / xyz_scale] * 3 + [1.0]).view(1, CHANNELS, 1, 1)
        self.register_buffer("xyz_unit", unit, persistent=False)

    def logits(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        """RGBA and scaled XYZA (B, 4, 64, 64) each -> (B, 1)."""
        raise NotImplementedError

    def forward(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        return self.logits(rgb, lidar * self.xyz_unit).squeeze(1)  # (B,)


def encode_rgb(blocks: nn.Sequential, rgb: Tensor) -> Tensor:
    """RGBA (B, 4, 64, 64) -> feature maps (B, C, H, W)."""
    return sparse.encode(blocks, rgb, lambda: darkness(rgb))


def encode_lidar(blocks: nn.Sequential, lidar: Tensor) -> Tensor:
    """XYZA (B, 4, 64, 64) -> feature maps (B, C, H, W)."""
    return sparse.encode(blocks, lidar, lambda: emptiness(lidar))


class IntermediateFusion(Fusion):
    """Feature maps of the two modalities meet in ``fuse``, before a last convolution and the classifier head."""

    fused_channels = 100

    def __init__(self, downsampling: str, xyz_scale: float):
        super().__init__(downsampling, xyz_scale)
        self.rgb, self.lidar = (encoder([CHANNELS, 50, 100], downsampling) for _ in range(2))  # (B, 100, 16, 16) each
        self.fused = Downsample(self.fused_channels, 100, downsampling)  # (B, 100, 8, 8)
        self.head = nn.Sequential(nn.Flatten(), *classifier_head(100 * 8 * 8))

    def fuse(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        """Two feature maps (B, 100, H, W) -> one (B, fused_channels, H, W), pixel by pixel, and zero of zeros."""
        raise NotImplementedError

    def logits(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        if sparse.usable(rgb, blocks=3):
            maps = (
                sparse.feature_maps(self.rgb, rgb, darkness(rgb)),
                sparse.feature_maps(self.lidar, lidar, emptiness(lidar)),
            )
            return self.head(sparse.dense(sparse.downsample(self.fused, *maps, fuse=self.fuse)))
        encoded = at_once(rgb, lambda x: encode_rgb(self.rgb, x), lidar, lambda x: encode_lidar(self.lidar, x))
        return self.head(self.fused(self.fuse(*encoded)))


class OneEncoder(Fusion):
    """One chain of convolutions as wide as an encoder of intermediate fusion with the convolution behind it.

    The baselines: what there is to gain from fusing feature maps is what a fusion gains over them.
    """

    channels = CHANNELS

    def __init__(self, downsampling: str, xyz_scale: float):
        super().__init__(downsampling, xyz_scale)
        self.encoder = encoder([self.channels, 50, 100, 100], downsampling)  # (B, 100, 8, 8)
        self.head = nn.Sequential(nn.Flatten(), *classifier_head(100 * 8 * 8))
