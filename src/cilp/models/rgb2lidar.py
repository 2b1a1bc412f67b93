"""The classifier that sees images alone, with a head that has only ever been trained on LiDAR: 988,151 parameters."""

from torch import Tensor, nn

from cilp.models.embedder import EMBEDDING, Embedder, EmbedderParams
from cilp.models.layers.blocks import classifier_head
from cilp.models.projector import Projector


class ProjectedHead(nn.Module):
    """The part behind the image embedder: a projector that trains, and the LiDAR classifier's head, which does not."""

    def __init__(self, projector: Projector, head: nn.Sequential):
        super().__init__()
        self.projector, self.head = projector, head.requires_grad_(False)

    def forward(self, embedding: Tensor) -> Tensor:
        """CILP image embeddings (B, 200) -> logits (B,), positive for a sphere."""
        return self.head(self.projector(embedding)).squeeze(1)


class RgbToLidar(nn.Module):
    """RGBA (B, 4, 64, 64) -> logits (B,): CILP's image embedder, projector, head of the LiDAR classifier."""

    def __init__(self, embedder: Embedder, projected: ProjectedHead):
        super().__init__()
        self.embedder, self.projected = embedder.requires_grad_(False), projected

    def forward(self, rgb: Tensor) -> Tensor:
        return self.projected(self.embedder(rgb))


def build(**params) -> RgbToLidar:
    """The network with random weights."""
    head = ProjectedHead(Projector(), classifier_head(EMBEDDING))
    return RgbToLidar(Embedder("rgb", EmbedderParams(**params)), head)
