"""What the fusions share."""

from typing import Any

import torch
from torch import Tensor, nn

from cilp.models.layers import sparse
from cilp.models.layers.background import darkness, emptiness
from cilp.models.layers.blocks import Downsample, at_once, classifier_head, encoder

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


class TwoEncoders(Fusion):
    """A fusion with an encoder for each sensor, which can therefore have a loss for each sensor as well."""

    def encode(self, rgb: Tensor, lidar: Tensor) -> tuple[Any, Any]:
        """RGBA and scaled XYZA (B, 4, 64, 64) each -> what ``merge`` takes of the image, and of the LiDAR."""
        raise NotImplementedError

    def merge(self, rgb: Any, lidar: Any) -> Tensor:
        """What the two encoders gave -> (B, 1)."""
        raise NotImplementedError

    def sensor_head(self) -> nn.Module:
        """An untrained classifier of one sensor's part of what ``encode`` gives: -> (B, 1)."""
        raise NotImplementedError

    def logits(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        return self.merge(*self.encode(rgb, lidar))


class IntermediateFusion(TwoEncoders):
    """Feature maps of the two modalities meet in ``fuse``, before a last convolution and the classifier head."""

    fused_channels = 100

    def __init__(self, downsampling: str, xyz_scale: float):
        super().__init__(downsampling, xyz_scale)
        self.downsampling = downsampling
        self.rgb, self.lidar = (encoder([CHANNELS, 50, 100], downsampling) for _ in range(2))  # (B, 100, 16, 16) each
        self.fused = Downsample(self.fused_channels, 100, downsampling)  # (B, 100, 8, 8)
        self.head = nn.Sequential(nn.Flatten(), *classifier_head(100 * 8 * 8))

    def fuse(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        """Two feature maps (B, 100, H, W) -> one (B, fused_channels, H, W), pixel by pixel, and zero of zeros."""
        raise NotImplementedError

    def encode(self, rgb: Tensor, lidar: Tensor) -> tuple[Tensor, Tensor] | tuple[sparse.Map, sparse.Map]:
        """Feature maps (B, 100, 16, 16), on a CPU held where there is something to see."""
        if sparse.usable(rgb, blocks=3):
            return (
                sparse.feature_maps(self.rgb, rgb, darkness(rgb)),
                sparse.feature_maps(self.lidar, lidar, emptiness(lidar)),
            )
        return at_once(rgb, lambda x: encode_rgb(self.rgb, x), lidar, lambda x: encode_lidar(self.lidar, x))

    def merge(self, rgb: Tensor | sparse.Map, lidar: Tensor | sparse.Map) -> Tensor:
        if isinstance(rgb, sparse.Map):
            return self.head(sparse.dense(sparse.downsample(self.fused, rgb, lidar, fuse=self.fuse)))
        return self.head(self.fused(self.fuse(rgb, lidar)))

    def sensor_head(self) -> nn.Module:
        """A convolution and a head, as the baseline of one sensor has them behind the same blocks."""
        return MapHead(self.downsampling)


class MapHead(nn.Module):
    """Feature maps (B, 100, 16, 16) -> (B, 1)."""

    def __init__(self, downsampling: str):
        super().__init__()
        self.downsample = Downsample(100, 100, downsampling)
        self.head = nn.Sequential(nn.Flatten(), *classifier_head(100 * 8 * 8))

    def forward(self, maps: Tensor | sparse.Map) -> Tensor:
        if isinstance(maps, sparse.Map):
            return self.head(sparse.dense(sparse.downsample(self.downsample, maps)))
        return self.head(self.downsample(maps))


class OneEncoder(Fusion):
    """One chain of convolutions as wide as an encoder of intermediate fusion with the convolution behind it.

    The baselines: what there is to gain from fusing feature maps is what a fusion gains over them.
    """

    channels = CHANNELS

    def __init__(self, downsampling: str, xyz_scale: float):
        super().__init__(downsampling, xyz_scale)
        self.encoder = encoder([self.channels, 50, 100, 100], downsampling)  # (B, 100, 8, 8)
        self.head = nn.Sequential(nn.Flatten(), *classifier_head(100 * 8 * 8))
