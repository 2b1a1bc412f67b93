"""Pairs whose image and range image show the object larger or smaller than it is, each by a factor of its own.

An augmentation that ``transfer_seeds.py`` tries: size then no longer tells which image belongs to which range image.
"""

import math
from dataclasses import dataclass, field
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from cilp.sensors import MAX_RANGE
from cilp.training.inputs import Pairs
from cilp.training.variation import View

LARGEST = 5 / 3
"""Factors lie between the inverse of this and this, uniform in their logarithm."""


@dataclass(frozen=True)
class ResizedPairs(Pairs):
    """As ``Pairs``, but for what is seen through a ``View``, as it is in training."""

    generator: torch.Generator = field(default_factory=torch.Generator)

    @classmethod
    def by(cls, pairs: Pairs, seed: int) -> Self:
        """The same pairs, whose factors follow from ``seed``."""
        return cls(**vars(pairs), generator=torch.Generator().manual_seed(seed))

    def images(self, rows: Tensor | slice, view: View | None = None) -> Tensor:
        """RGBA (B, 4, 64, 64) float32 in [0, 1]."""
        images = super().images(rows, view)
        return images if view is None else resized_images(images, self._factors(len(images)))

    def range_images(self, rows: Tensor | slice, view: View | None = None) -> Tensor:
        """Ranges (B, 64, 64) float32 in metres."""
        ranges = super().range_images(rows, view)
        return ranges if view is None else resized_ranges(ranges, self._factors(len(ranges)))

    def _factors(self, count: int) -> Tensor:
        """Of each sample (B,): how many times as large as it is it appears."""
        powers = 2 * torch.rand(count, generator=self.generator) - 1
        return (powers * math.log(LARGEST)).exp()


def resized_images(images: Tensor, factor: Tensor) -> Tensor:
    """Colours of RGBA images (B, 4, 64, 64) magnified by ``factor`` (B,) about the middle of what is not black."""
    colours, alpha = images[:, :3], images[:, 3:]
    magnified = _magnified(colours, colours.amax(dim=1) > 0, factor, "bilinear")
    return torch.cat([magnified, alpha], dim=1).contiguous(memory_format=torch.channels_last)


def resized_ranges(ranges: Tensor, factor: Tensor) -> Tensor:
    """Range images (B, 64, 64) of objects that are ``factor`` (B,) times as large, about as far away as they were."""
    factor, hits = factor.to(ranges), ranges < MAX_RANGE
    distance = (ranges * hits).sum(dim=(1, 2)) / hits.sum(dim=(1, 2)).clamp(min=1)  # (B,), the mean of the returns
    relief = (ranges - distance[:, None, None]) * factor[:, None, None]
    seen = torch.stack([hits.to(ranges.dtype), torch.where(hits, relief, 0)], dim=1)
    hit, relief = _magnified(seen, hits, factor, "nearest").unbind(dim=1)
    return torch.where(hit > 0, distance[:, None, None] + relief, MAX_RANGE)


def _magnified(maps: Tensor, object: Tensor, factor: Tensor, mode: str) -> Tensor:
    """Maps (B, C, H, W), 0 outside, magnified about the middle of ``object`` (B, H, W)."""
    height, width = object.shape[1:]
    weight = object.to(maps.dtype)
    count = weight.sum(dim=(1, 2)).clamp(min=1)
    down, right = ((2 * torch.arange(size) + 1).to(maps) / size - 1 for size in (height, width))
    middle = torch.stack([(weight * right).sum((1, 2)) / count, (weight * down[:, None]).sum((1, 2)) / count], dim=1)
    shrunk = (1 / factor).to(maps)
    theta = torch.cat(
        [torch.eye(2).to(maps) * shrunk[:, None, None], (middle * (1 - shrunk[:, None]))[..., None]], dim=2
    )
    grid = F.affine_grid(theta, list(maps.shape), align_corners=False)
    return F.grid_sample(maps, grid, mode=mode, padding_mode="zeros", align_corners=False)
