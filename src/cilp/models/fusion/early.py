"""Early fusion: the channels of both sensors are stacked at the input, 779,051 parameters."""

import torch
from torch import Tensor

from cilp.models.fusion._base import CHANNELS, OneEncoder
from cilp.models.layers import sparse
from cilp.models.layers.background import darkness, emptiness


class EarlyFusion(OneEncoder):
    """Pixels of camera and LiDAR with equal row and column meet, though they look in different directions."""

    channels = 2 * CHANNELS

    def logits(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        stacked = torch.cat([rgb, lidar], dim=1)
        encoded = sparse.encode(self.encoder, stacked, lambda: torch.cat([darkness(rgb), emptiness(lidar)]))
        return self.head(encoded)
