"""What a classifier that knows only LiDAR is trained and evaluated on."""

from dataclasses import fields

from torch import Tensor

from cilp.training.inputs import Split


class LidarSplit(Split):
    """A split of which a model sees the LiDAR alone."""

    @classmethod
    def of(cls, split: Split) -> "LidarSplit":
        """The same samples."""
        return cls(**{field.name: getattr(split, field.name) for field in fields(split)})

    def inputs(self, rows: Tensor | slice) -> tuple[Tensor]:
        """XYZA (B, 4, 64, 64) in metres."""
        return super().inputs(rows)[1:]
