"""The packed data: every pair of the subset as tensors in one file, which training maps into memory.

A dictionary of tensors in torch's own format, so that a lean training image needs nothing but torch to read it,
memory-mapped and without executing anything (``weights_only``). Samples are ordered by split, scene and class.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from cilp.atomic import replacing
from cilp.errors import UserError

FORMAT = "cilp-packed-1"
SPLITS = ("train", "val", "test")
SHAPES = {
    "rgb": (torch.uint8, ("N", 64, 64, 4)),
    "range": (torch.float32, ("N", 64, 64)),
    "label": (torch.uint8, ("N",)),
    "scene": (torch.int32, ("N",)),
    "split": (torch.uint8, ("N",)),
    "sensor": (torch.uint8, ("N",)),
    "azimuth": (torch.float32, ("K", 64)),
    "zenith": (torch.float32, ("K", 64)),
}


@dataclass(frozen=True)
class Packed:
    """N pairs seen by K differently calibrated LiDARs (one, unless the classes were recorded with different angles)."""

    rgb: torch.Tensor  # (N, 64, 64, 4) uint8 RGBA
    range: torch.Tensor  # (N, 64, 64) float32 metres, rows = azimuth, columns = zenith
    label: torch.Tensor  # (N,) uint8, cube 0, sphere 1
    scene: torch.Tensor  # (N,) int32
    split: torch.Tensor  # (N,) uint8, index into SPLITS
    sensor: torch.Tensor  # (N,) uint8, row of the calibration below
    azimuth: torch.Tensor  # (K, 64) float32 radians
    zenith: torch.Tensor  # (K, 64) float32 radians

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        for name, (dtype, shape) in SHAPES.items():
            tensor = getattr(self, name)
            expected = tuple(sizes.setdefault(n, size) if isinstance(n, str) else n
                             for n, size in zip(shape, tensor.shape, strict=False))  # fmt: skip
            if tensor.dtype != dtype or tuple(tensor.shape) != expected or tensor.dim() != len(shape):
                raise ValueError(f"{name} must be {dtype} of shape {shape}; got {tensor.dtype} {tuple(tensor.shape)}")

    def rows(self, split: str) -> slice:
        """The consecutive rows of one split."""
        members = torch.nonzero(self.split == SPLITS.index(split)).flatten()
        if not len(members):
            return slice(0, 0)
        return slice(int(members[0]), int(members[-1]) + 1)


def save(packed: Packed, path: Path) -> None:
    """Write the packed file; equal tensors give equal bytes."""
    if not bool((packed.split[1:] >= packed.split[:-1]).all()):
        raise ValueError("samples must be ordered by split")
    with replacing(path, "wb") as file:
        torch.save({"format": FORMAT, **{name: getattr(packed, name) for name in SHAPES}}, file)


def load(path: Path) -> Packed:
    """Map a packed file into memory; pages are read when they are first used.

    Raises:
        UserError: the file is missing, truncated or of another format.
    """
    cure = "run `dvc repro pack` to write it anew"
    try:
        content = torch.load(path, mmap=True, weights_only=True)
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise ValueError(f"it is not in the format {FORMAT}")
        return Packed(**content)
    except FileNotFoundError:
        raise UserError(f"{path} is missing; {cure}.") from None
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} cannot be read ({reason}); {cure}.") from None
