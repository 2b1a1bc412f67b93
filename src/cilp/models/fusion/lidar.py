"""The LiDAR alone, 777,251 parameters: a baseline."""

from torch import Tensor

from cilp.models.fusion._base import OneEncoder, encode_lidar


class LidarAlone(OneEncoder):
    """The image is not looked at."""

    def logits(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        return self.head(encode_lidar(self.encoder, lidar))
