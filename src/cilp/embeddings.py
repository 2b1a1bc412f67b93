"""Embeddings of splits by frozen embedders: made once, kept in a file, and read by all that trains on them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cilp.atomic import check_archive, replacing
from cilp.errors import UserError
from cilp.models.embedder import EMBEDDING, MODALITIES, Embedder
from cilp.packed import SPLITS
from cilp.training.distributed import world
from cilp.training.inputs import Split, in_order, seen_by

FORMAT = "cilp-embeddings-1"


@dataclass(frozen=True)
class Embedded:
    """A split as a frozen embedder sees it."""

    embedding: Tensor  # (N, E) float32
    label: Tensor  # (N,) float32, 1 for a sphere
    shard = None  # a batch may take rows from anywhere

    def __len__(self) -> int:
        return len(self.label)

    def inputs(self, rows: Tensor | slice) -> tuple[Tensor]:
        """Embeddings (B, E) of the given rows."""
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


Embeddings = dict[str, dict[str, Embedded]]
"""By modality, ``rgb`` or ``lidar``, and split."""


def embed_all(
    embedders: list[Embedder], splits: Mapping[str, Split], on_split: Callable[[int], None] = lambda views: None
) -> Embeddings:
    """Every split as each of the embedders sees it, one a modality; ``on_split`` hears how many views that were."""
    seen: Embeddings = {}
    for embedder in embedders:
        seen[embedder.modality] = {}
        for name, split in splits.items():
            seen[embedder.modality][name] = embed_split(embedder, split)
            on_split(len(split))
    return seen


def save_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Write them, on the CPU, whole or not at all; the leading process alone does."""
    if not world().leads:
        return
    content = {
        modality: {
            name: {"embedding": seen.embedding.cpu(), "label": seen.label.cpu()} for name, seen in splits.items()
        }
        for modality, splits in embeddings.items()
    }
    with replacing(path, "wb") as file:
        torch.save({"format": FORMAT, "embeddings": content}, file)


def load_embeddings(path: Path, device: torch.device | str = "cpu") -> Embeddings:
    """Read what ``save_embeddings`` wrote, onto ``device``.

    Raises:
        UserError: the file is missing, damaged or holds something else. Nothing in it is executed (``weights_only``).
    """
    try:
        check_archive(path)
        content = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"it is not in the format {FORMAT}")
        if not content["embeddings"].keys() <= set(MODALITIES):
            raise ValueError(f"it has other modalities than {' and '.join(MODALITIES)}")
        return {
            modality: {name: _checked(**splits[name]) for name in SPLITS}
            for modality, splits in content["embeddings"].items()
        }
    except FileNotFoundError:
        raise UserError(f"{path} is missing; make it with `dvc repro embed`, or fetch it with `dvc pull`.") from None
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{path} holds no usable embeddings ({reason}); make them anew with `dvc repro embed`."
        ) from None


def _checked(embedding: Tensor, label: Tensor) -> Embedded:
    if embedding.dtype != torch.float32 or embedding.shape != (len(label), EMBEDDING):
        raise ValueError(f"it holds {embedding.dtype} {tuple(embedding.shape)} for {len(label)} labels")
    if not bool(embedding.isfinite().all()):
        raise ValueError("it has embeddings that are not finite")
    if label.dtype != torch.float32 or not bool(((label == 0) | (label == 1)).all()):
        raise ValueError("it has labels that are neither 0 nor 1")
    return Embedded(embedding, label)
