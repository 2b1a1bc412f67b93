"""The packed data: every pair of the subset as tensors in one file, which training maps into memory.

A dictionary of tensors in torch's own format, so that a lean training image needs nothing but torch to read it,
memory-mapped and without executing anything (``weights_only``). Samples are ordered by split, scene and class.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from cilp.atomic import check_archive, replacing
from cilp.errors import UserError
from cilp.sensors import MAX_RANGE

FORMAT = "cilp-packed-1"
SPLITS = ("train", "val", "test")
STAGES = {
    "packed": "pack", "unlabelled": "pack_unlabelled", "random_size": "pack_random_size",
    "random_size_unlabelled": "pack_random_size_unlabelled",
}  # fmt: skip
"""Which stage writes the file of that name."""
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
UNLABELLED = 255
"""Stands in place of the label of pairs that are packed without."""
TOLERANCE = 1e-3
"""What a range in metres or an angle in radians may exceed its bound by."""
ROWS_CHECKED = 2**13
"""Rows whose ranges are looked at together, 128 MiB; the pages leave memory again before the next ones."""


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
    path: Path | None = None
    """The file that was mapped, if the tensors lie in one."""

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


def check_mirror(packed: Packed) -> None:
    """``UserError`` unless every LiDAR's angle k is the opposite of its angle 64 - k, as ``cilp.mirror`` assumes."""
    for angles in (packed.azimuth, packed.zenith):
        if not torch.allclose(angles[:, 1:], -angles[:, 1:].flip(1), rtol=0, atol=1e-4):
            raise UserError(
                "cilp.mirror needs LiDAR angles that are symmetric about the axis, (k - 32) / 2 degrees; these are "
                "not: set cilp.mirror to false."
            )


def save(packed: Packed, path: Path) -> None:
    """Write the packed file; equal tensors give equal bytes."""
    if not bool((packed.split[1:] >= packed.split[:-1]).all()):
        raise ValueError("samples must be ordered by split")
    with replacing(path, "wb") as file:
        torch.save({"format": FORMAT, **{name: getattr(packed, name) for name in SHAPES}}, file)


def load(path: Path) -> Packed:
    """Map a packed file into memory; pages are read when they are first used.

    The first time that a process loads a file, all of it is read once and checked.

    Raises:
        UserError: the file is missing, truncated, damaged, of another format, or holds what cannot be.
    """
    path = Path(path)
    cure = f"run `dvc repro {STAGES.get(path.stem, STAGES['packed'])}` to write it anew"
    try:
        found = path.stat()
        _check(path, (found.st_ino, found.st_size, found.st_mtime_ns))
        return _map(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing; {cure}.") from None
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} cannot be read ({reason}); {cure}.") from None


def _map(path: Path) -> Packed:
    content = torch.load(path, mmap=True, weights_only=True)
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise ValueError(f"it is not in the format {FORMAT}")
    return Packed(**content, path=path)


@lru_cache(maxsize=16)
def _check(path: Path, state: tuple[int, ...]) -> None:
    """Raise unless a file, known by its ``state``, is as it was written and holds what the rest relies upon."""
    members = check_archive(path)
    data = _map(path)
    storages = {tensor.data_ptr(): tensor.untyped_storage() for tensor in (getattr(data, name) for name in SHAPES)}
    used = sorted(storage.nbytes() for storage in storages.values() if storage.nbytes())
    if used != sorted(size for name, size in members.items() if "/data/" in name and size):  # else one reads another's
        raise ValueError("its tensors are not of the sizes stored")
    known = (data.label < 2) | (data.label == UNLABELLED)
    if not bool(known.all() and (data.split < len(SPLITS)).all() and (data.sensor < len(data.azimuth)).all()):
        raise ValueError("it has a label, split or sensor that there is not")
    if not bool((data.split[1:] >= data.split[:-1]).all() and (data.scene >= 0).all()):
        raise ValueError("its samples are not ordered by split, or their scenes not numbered from 0")
    for angles in (data.azimuth, data.zenith):
        if not bool((angles.abs() <= math.pi + TOLERANCE).all()):  # which NaN is not either
            raise ValueError("it has angles that are none in radians")
    for start in range(0, len(data.range), ROWS_CHECKED):
        low, high = _map(path).range[start : start + ROWS_CHECKED].aminmax()
        if not (low > 0 and high <= MAX_RANGE + TOLERANCE):
            raise ValueError(f"it has ranges that are not between 0 and {MAX_RANGE:g} m")
