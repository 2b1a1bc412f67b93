"""Pixels that are too many for memory: they stay in their packed files and come in shards."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from cilp import packed

RESIDENT_BYTES = {"cpu": 2 * 2**30, "cuda": 16 * 2**30}
"""Images and ranges of a training set that take more than this are streamed, or more than half of a GPU's memory."""
SHARD = 8192
"""Rows that are in memory together, 256 MiB of images and ranges. Batches are drawn within a shard, and shards come in
random order. Packed samples are ordered by scene, so that a shard has as many cubes as spheres."""

Source = tuple[packed.Packed, slice]
"""A packed file, and consecutive rows of it."""


class Streamed:
    """One field of packed files, (N, ...), read from them when it is asked for; the last shard stays on ``device``.

    All shards come into the same memory: new memory is slow where a virtual machine has to ask its host for it.
    """

    def __init__(self, sources: Sequence[tuple[Path, int, int]], field: str, device: torch.device):
        """``sources`` are the path, first row and end of consecutive rows of packed files."""
        self.sources, self.field, self.device = sources, field, device
        self.ends = list(accumulate(stop - start for _, start, stop in sources))
        self.number, self.block = -1, torch.empty(0, device=device)

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, rows: Tensor | slice | int) -> Tensor:
        """Consecutive rows, one row, or rows (B,) int64 on the host that lie in one shard (else ``IndexError``)."""
        if isinstance(rows, int):
            return self[rows : rows + 1][0]
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            numbers = range(start // SHARD, -(-stop // SHARD))
            parts = [self._shard(k)[max(start - k * SHARD, 0) : stop - k * SHARD].clone() for k in numbers]
            return parts[0] if len(parts) == 1 else torch.cat(parts)
        first, last = (int(row) // SHARD for row in (rows.min(), rows.max()))
        if first != last:
            raise IndexError(f"a batch must lie in one shard of {SHARD} rows; got shards {first} and {last}")
        return self._shard(first)[(rows - first * SHARD).to(self.device, non_blocking=True)]

    def _shard(self, number: int) -> Tensor:
        """The rows of one shard. Files are mapped anew for each, so that the pages read leave memory again."""
        if number != self.number:
            self.number = -1  # until it is whole
            start, stop = number * SHARD, min((number + 1) * SHARD, len(self))
            for (path, first, _), end, begin in zip(self.sources, self.ends, [0, *self.ends], strict=False):
                low, high = max(start, begin), min(stop, end)
                if low < high:
                    rows = getattr(packed.load(path), self.field)[first + low - begin : first + high - begin]
                    if not len(self.block):
                        self.block = rows.new_empty((min(SHARD, len(self)), *rows.shape[1:]), device=self.device)
                    self.block[low - start : high - start].copy_(rows)
            self.number = number
        return self.block[: len(self) - number * SHARD]


def shards(count: int, size: int | None, generator: torch.Generator) -> list[int]:
    """The first row of each shard of ``size`` rows, in random order; without a size, all is one."""
    if size is None:
        return [0]
    firsts = torch.arange(0, count, size)
    return firsts[torch.randperm(len(firsts), generator=generator)].tolist()


def pixels(sources: Sequence[Source], device: torch.device) -> tuple[Tensor | Streamed, Tensor | Streamed]:
    """Images (N, 64, 64, 4) uint8 and ranges (N, 64, 64) float32 of the given rows, one source after the other.

    They are copied to ``device``, or streamed where they are too many for it and lie in files.
    """
    fields = [(data.rgb[rows], data.range[rows]) for data, rows in sources]
    files = [data.path for data, _ in sources]
    if sum(rgb.nbytes + ranges.nbytes for rgb, ranges in fields) > resident_bytes(device) and all(files):
        spans = [(data.path, *rows.indices(len(data.label))[:2]) for data, rows in sources]
        return Streamed(spans, "rgb", device), Streamed(spans, "range", device)
    rgb, ranges = zip(*fields, strict=True)
    return _copied(rgb, device), _copied(ranges, device)


def resident_bytes(device: torch.device) -> int:
    """What of a training set may lie on ``device``: on a GPU, half of it together with all that lies there already."""
    most = RESIDENT_BYTES[device.type]
    if device.type != "cuda":
        return most
    half = torch.cuda.get_device_properties(device).total_memory // 2
    return max(0, min(most, half - torch.cuda.memory_allocated(device)))


def _copied(parts: Sequence[Tensor], device: torch.device) -> Tensor:
    return parts[0].to(device, copy=True) if len(parts) == 1 else torch.cat(parts).to(device)
