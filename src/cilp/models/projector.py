"""The bridge from CILP's image embeddings to the embeddings of the LiDAR classifier."""

from torch import Tensor, nn
from torch.nn.functional import normalize

from cilp.models.embedder import EMBEDDING


class Projector(nn.Module):
    """(B, 200) -> (B, 200) of unit length, 40,300 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(EMBEDDING, 100), nn.ReLU(), nn.Linear(100, EMBEDDING))

    def forward(self, embedding: Tensor) -> Tensor:
        return normalize(self.layers(embedding), dim=1)


def build() -> Projector:
    """An untrained projector."""
    return Projector()
