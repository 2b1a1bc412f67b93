"""The image alone, 777,251 parameters: a baseline."""

from torch import Tensor

from cilp.models.fusion._base import OneEncoder, encode_rgb


class RgbAlone(OneEncoder):
    """The LiDAR is not looked at."""

    def logits(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        return self.head(encode_rgb(self.encoder, rgb))
