"""A split as tensors that stay on the device; batches of model inputs are made there, by index.

A split too large for that is streamed (``cilp.training.stream``).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from cilp.packed import Packed
from cilp.sensors import MAX_RANGE, ray_directions
from cilp.training.device import EVALUATION_BATCH
from cilp.training.stream import SHARD, Streamed, pixels
from cilp.training.variation import View


@dataclass(frozen=True)
class Pairs:
    """N pairs on one device, as stored, a quarter of what the float inputs would take, or streamed."""

    rgb: Tensor | Streamed  # (N, 64, 64, 4) uint8
    range: Tensor | Streamed  # (N, 64, 64) float32 metres
    scene: Tensor  # (N,) int32 or int64
    directions: Tensor  # (K, 64, 64, 3) float32 unit vectors, one set per calibration
    sensor: Tensor  # (N,) int64, which calibration

    @classmethod
    def of(cls, pairs: "Pairs") -> Self:
        """The same pairs, as this kind of them."""
        return cls(**{field.name: getattr(pairs, field.name) for field in fields(cls)})

    def __len__(self) -> int:
        return len(self.scene)

    @property
    def shard(self) -> int | None:
        """Within how many consecutive rows a batch must lie; None for anywhere."""
        return SHARD if isinstance(self.range, Streamed) else None

    def first(self, count: int) -> Self:
        """The first ``count`` pairs."""
        each = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "directions"}
        return replace(self, **{name: value[:count] for name, value in each.items()})

    def inputs(self, rows: Tensor | slice, view: View | None = None) -> tuple[Tensor, ...]:
        """Image and XYZA of the given rows, (B, 4, 64, 64) float32 each, laid out channels-last, varied by ``view``."""
        return self.images(rows, view), self.points(rows, view)

    def images(self, rows: Tensor | slice, view: View | None = None) -> Tensor:
        """RGBA of the given rows, (B, 4, 64, 64) float32 in [0, 1]."""
        rgb = self.rgb[rows]
        return image(rgb if view is None else view.of_images(rgb))

    def points(self, rows: Tensor | slice, view: View | None = None) -> Tensor:
        """XYZA of the given rows, (B, 4, 64, 64) float32 in metres."""
        return xyza(self.range_images(rows, view), self.rays(rows))

    def range_images(self, rows: Tensor | slice, view: View | None = None) -> Tensor:
        """Ranges of the given rows, (B, 64, 64) float32 in metres."""
        ranges = self.range[rows]
        return ranges if view is None else view.of_range_images(ranges)

    def rays(self, rows: Tensor | slice) -> Tensor:
        """Directions of the given rows' rays: (64, 64, 3), or (B, 64, 64, 3) where there are several calibrations."""
        return self.directions[0] if len(self.directions) == 1 else self.directions[self.sensor[rows]]

    def names(self, rows: Tensor) -> str:
        """What the given rows (B,) are called in a message: their scenes."""
        return f"pairs of the scenes {self.scene[rows].tolist()}"


@dataclass(frozen=True)
class Split(Pairs):
    """Pairs with labels."""

    label: Tensor  # (N,) float32, 1 for a sphere

    def names(self, rows: Tensor) -> str:
        """What the given rows (B,) are called in a message: the scenes, by class."""
        label, scene = self.label[rows], self.scene[rows]
        return f"cubes {scene[label == 0].tolist()} and spheres {scene[label == 1].tolist()}"


class _ImagesAlone(Pairs):
    def inputs(self, rows: Tensor | slice, view: View | None = None) -> tuple[Tensor]:
        """RGBA (B, 4, 64, 64) in [0, 1]."""
        return (self.images(rows, view),)


class ImagePairs(_ImagesAlone):
    """Pairs of which a model sees the image alone."""


class ImageSplit(_ImagesAlone, Split):
    """A split of which a model sees the image alone."""


class LidarSplit(Split):
    """A split of which a model sees the LiDAR alone."""

    def inputs(self, rows: Tensor | slice, view: View | None = None) -> tuple[Tensor]:
        """XYZA (B, 4, 64, 64) in metres."""
        return (self.points(rows, view),)


def seen_by(split: Split, modalities: Collection[str]) -> Split:
    """The same samples, for a model that sees ``rgb``, ``lidar`` or both."""
    if set(modalities) == {"rgb", "lidar"}:
        return split
    (modality,) = modalities
    return {"rgb": ImageSplit, "lidar": LidarSplit}[modality].of(split)


def in_order(count: int, device: torch.device) -> Iterator[slice]:
    """The rows of one evaluation batch after the other, until all ``count`` samples had their turn."""
    size = EVALUATION_BATCH[device.type]
    return (slice(start, start + size) for start in range(0, count, size))


def load_split(packed: Packed, split: str, device: torch.device) -> Split:
    """Copy one split of the packed data to ``device``, or have it streamed."""
    rows = packed.rows(split)
    rgb, ranges = pixels([(packed, rows)], device)
    tensors = {
        "label": packed.label[rows].float(),
        "scene": packed.scene[rows],
        "directions": directions(packed),
        "sensor": packed.sensor[rows].long(),
    }
    return Split(rgb, ranges, **{name: tensor.to(device, copy=True) for name, tensor in tensors.items()})


def directions(packed: Packed) -> Tensor:
    """Of the rays: (K, 64, 64, 3) float32 unit vectors, one set per calibration."""
    angles = zip(packed.azimuth, packed.zenith, strict=True)
    return torch.stack([torch.from_numpy(ray_directions(a.numpy(), z.numpy())) for a, z in angles]).float()


def image(rgb: Tensor) -> Tensor:
    """(B, 64, 64, 4) uint8 -> (B, 4, 64, 64) float32 in [0, 1]."""
    return torch.div(rgb, 255.0).permute(0, 3, 1, 2)


def xyza(ranges: Tensor, directions: Tensor) -> Tensor:
    """Range images (B, 64, 64) in metres -> (B, 4, 64, 64) float32: x, y, z in metres and the hit mask.

    A ray without a return keeps the point at maximum range on its way; only its mask is 0.
    """
    points = ranges.new_empty((*ranges.shape, 4))
    torch.mul(ranges.unsqueeze(-1), directions, out=points[..., :3])
    points[..., 3] = ranges < MAX_RANGE
    return points.permute(0, 3, 1, 2)
