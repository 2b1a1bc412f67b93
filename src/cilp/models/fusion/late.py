"""Late fusion, 1,415,051 parameters."""

import torch
from torch import Tensor, nn

from cilp.models.fusion._base import CHANNELS, TwoEncoders, encode_lidar, encode_rgb
from cilp.models.layers.blocks import at_once, classifier_head, encoder


class LateFusion(TwoEncoders):
    """Each modality is encoded to a vector of 100; the two vectors meet in the classifier head."""

    def __init__(self, downsampling: str, xyz_scale: float):
        super().__init__(downsampling, xyz_scale)
        self.rgb, self.lidar = (encoder([CHANNELS, 25, 50, 100], downsampling) for _ in range(2))  # (B, 100, 8, 8) each
        self.rgb_vector, self.lidar_vector = (
            nn.Sequential(nn.Flatten(), nn.Linear(100 * 8 * 8, 100)) for _ in range(2)
        )
        self.head = classifier_head(200)

    def encode(self, rgb: Tensor, lidar: Tensor) -> tuple[Tensor, Tensor]:
        """A vector (B, 100) each."""
        return at_once(
            rgb, lambda x: self.rgb_vector(encode_rgb(self.rgb, x)),
            lidar, lambda x: self.lidar_vector(encode_lidar(self.lidar, x)),
        )  # fmt: skip

    def merge(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        return self.head(torch.cat([rgb, lidar], dim=1))

    def sensor_head(self) -> nn.Module:
        return classifier_head(100)
