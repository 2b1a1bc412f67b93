"""Models that no longer train: loaded, run over the data once, and never touched."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from cilp.errors import UserError
from cilp.models.embedder import Embedder
from cilp.training.checkpoint import load_checkpoint
from cilp.training.inputs import Split, in_order, seen_by

M = TypeVar("M", bound=nn.Module)


def load_frozen(path: Path, kind: type[M], device: torch.device) -> M:
    """The model of a checkpoint, in evaluation mode, with nothing left to train.

    Raises:
        UserError: the checkpoint is missing, unusable or of another model than ``kind``.
    """
    model, _ = load_checkpoint(path, device)
    if not isinstance(model, kind):
        raise UserError(
            f"{path} holds a {type(model).__name__}, not a {kind.__name__}; train it anew with `dvc repro`."
        )
    return model.requires_grad_(False)


@dataclass(frozen=True)
class Embedded:
    """A split as a frozen embedder sees it."""

    embedding: Tensor  # (N, 200) float32, unit length
    label: Tensor  # (N,) float32, 1 for a sphere
    shard = None  # a batch may take rows from anywhere

    def __len__(self) -> int:
        return len(self.label)

    def inputs(self, rows: Tensor | slice) -> tuple[Tensor]:
        """Embeddings (B, 200) of the given rows."""
        return (self.embedding[rows],)

    def select(self, rows: Tensor) -> "Embedded":
        """The given rows alone."""
        return Embedded(self.embedding[rows], self.label[rows])

    def names(self, rows: Tensor) -> str:
        """What the given rows are called in a message."""
        return f"rows {rows.tolist()}"


@torch.no_grad()
def embed_split(embedder: Embedder, split: Split) -> Embedded:
    """Run a frozen embedder over every sample once; an RGB embedder sees the images, a LiDAR embedder the ranges."""
    seen = seen_by(split, [embedder.modality])
    parts = [embedder(*seen.inputs(rows)) for rows in in_order(len(seen), seen.label.device)]
    return Embedded(torch.cat(parts), split.label)
