"""Training samples of which a random share misses one of its sensors, so that a fusion learns to do without either."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cilp.sensors import MAX_RANGE
from cilp.training.inputs import Split, xyza
from cilp.training.variation import View


@dataclass(frozen=True)
class ModalityDropout(Split):
    """A split whose samples lack the image (it is black) or the LiDAR (no ray returns), each with half of ``rate``.

    Which ones is drawn anew for every batch, on the device and without a generator whose state a run would have to
    keep: a sample's number in [0, 1), fixed by the seed, is shifted by another one of a sample before it in the batch,
    hence uniform again (Cranley and Patterson 1976). Several processes share a batch, so their neighbours differ
    from those of one process.
    """

    rate: float
    number: Tensor  # (N,) float32 in [0, 1)
    shift: Tensor  # (N,) float32 in [0, 1)
    neighbour: int
    """Whose shift is added: that of the sample so many places before."""

    @classmethod
    def of(cls, split: Split, rate: float, seed: int, neighbour: int = 1) -> "ModalityDropout":
        """The same samples, now and then without a sensor."""
        generator = torch.Generator().manual_seed(seed)
        number, shift = torch.rand(2, len(split), generator=generator).to(split.label.device)
        return cls(**vars(Split.of(split)), rate=rate, number=number, shift=shift, neighbour=neighbour)

    def inputs(self, rows: Tensor | slice, view: View | None = None) -> tuple[Tensor, Tensor]:
        """Image and XYZA of the given rows, (B, 4, 64, 64) float32 each, varied by ``view``."""
        drawn = (self.number[rows] + self.shift[rows].roll(self.neighbour)) % 1
        dark = drawn < self.rate / 2
        blind = (drawn < self.rate) & ~dark
        images = self.images(rows, view)
        images[:, :3].masked_fill_(dark.view(-1, 1, 1, 1), 0.0)
        ranges = self.range_images(rows, view).masked_fill(blind.view(-1, 1, 1), MAX_RANGE)
        return images, xyza(ranges, self.rays(rows))
