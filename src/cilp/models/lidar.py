"""The classifier that knows only LiDAR: an embedder and a head, 947,851 parameters."""

from torch import Tensor, nn

from cilp.models.embedder import EMBEDDING, Embedder, EmbedderParams
from cilp.models.layers.blocks import classifier_head


class LidarClassifier(nn.Module):
    """XYZA (B, 4, 64, 64) -> logits (B,), positive for a sphere."""

    def __init__(self, params: EmbedderParams):
        super().__init__()
        self.embedder = Embedder("lidar", params)
        self.head = classifier_head(EMBEDDING)

    def forward(self, lidar: Tensor) -> Tensor:
        return self.head(self.embedder(lidar)).squeeze(1)


def build(**params) -> LidarClassifier:
    """An untrained LiDAR classifier."""
    return LidarClassifier(EmbedderParams(**params))
