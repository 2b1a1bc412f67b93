"""A split as tensors that stay on the device; batches of model inputs are made there, by index.

A split too large for that is streamed (``cilp.training.stream``).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

from cilp.packed import Packed
from cilp.sensors import MAX_RANGE, ray_directions
from cilp.training.device import EVALUATION_BATCH
from cilp.training.stream import SHARD, Streamed, pixels


@dataclass(frozen=True)
class Split:
    """N pairs on one device, as stored: bytes and ranges, a quarter of what the float inputs would take."""

    rgb: Tensor | Streamed  # (N, 64, 64, 4) uint8
    range: Tensor | Streamed  # (N, 64, 64) float32 metres
    label: Tensor  # (N,) float32, 1 for a sphere
    scene: Tensor  # (N,) int32
    directions: Tensor  # (K, 64, 64, 3) float32 unit vectors, one set per calibration
    sensor: Tensor  # (N,) int64, which calibration

    def __len__(self) -> int:
        return len(self.label)

    @property
    def shard(self) -> int | None:
        """Within how many consecutive rows a batch must lie; None for anywhere."""
        return SHARD if isinstance(self.range, Streamed) else None

    def inputs(self, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Image and XYZA of the given rows, (B, 4, 64, 64) float32 each, laid out channels-last."""
        return image(self.rgb[rows]), xyza(self.range[rows], self._directions(rows))

    def tensors(self) -> dict[str, Any]:
        """The samples by the names above, to make another kind of split of."""
        return {field.name: getattr(self, field.name) for field in fields(Split)}

    def names(self, rows: Tensor) -> str:
        """What the given rows (B,) are called in a message: the scenes, by class."""
        label, scene = self.label[rows], self.scene[rows]
        return f"cubes {scene[label == 0].tolist()} and spheres {scene[label == 1].tolist()}"

    def _directions(self, rows: Tensor | slice) -> Tensor:
        return self.directions[0] if len(self.directions) == 1 else self.directions[self.sensor[rows]]


class _OneSensor(Split):
    @classmethod
    def of(cls, split: Split) -> Self:
        """The same samples."""
        return cls(**split.tensors())


class ImageSplit(_OneSensor):
    """A split of which a model sees the image alone."""

    def inputs(self, rows: Tensor | slice) -> tuple[Tensor]:
        """RGBA (B, 4, 64, 64) in [0, 1]."""
        return (image(self.rgb[rows]),)


class LidarSplit(_OneSensor):
    """A split of which a model sees the LiDAR alone."""

    def inputs(self, rows: Tensor | slice) -> tuple[Tensor]:
        """XYZA (B, 4, 64, 64) in metres."""
        return (xyza(self.range[rows], self._directions(rows)),)


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
