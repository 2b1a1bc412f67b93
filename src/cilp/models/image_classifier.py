"""The classifier that knows only images, the LiDAR classifier's twin: an embedder and a head, 947,851 parameters."""

from torch import Tensor, nn

from cilp.models.embedder import EMBEDDING, Embedder, EmbedderParams
from cilp.models.layers.blocks import classifier_head


class ImageClassifier(nn.Module):
    """RGBA (B, 4, 64, 64) in [0, 1] -> logits (B,), positive for a sphere."""

    def __init__(self, params: EmbedderParams):
        super().__init__()
        self.embedder = Embedder("rgb", params)
        self.head = classifier_head(EMBEDDING)

    def forward(self, rgb: Tensor) -> Tensor:
        return self.head(self.embedder(rgb)).squeeze(1)


def build(**params) -> ImageClassifier:
    """An untrained image classifier."""
    return ImageClassifier(EmbedderParams(**params))
