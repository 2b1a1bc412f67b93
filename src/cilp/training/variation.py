"""How a batch is varied in ways that tell nothing about the shape: augmentation of both sensors alike."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class View:
    """One variation of a whole batch that tells nothing about the shape, the same for all of its pairs.

    ``left_right`` and ``up_down`` mirror what both sensors see: images (B, 64, 64, 4), bytes, rows down and columns to
    the right, and range images (B, 64, 64), azimuth by zenith. ``colours`` is an order of the three colour channels.
    """

    left_right: bool = False
    up_down: bool = False
    colours: tuple[int, int, int] = (0, 1, 2)

    @classmethod
    def draw(cls, mirror: bool, permute_colours: bool, generator: torch.Generator) -> "View":
        """A random view."""
        coins = torch.randint(2, (2,), generator=generator).bool().tolist()
        colours = torch.randperm(3, generator=generator).tolist()
        return cls(mirror and coins[0], mirror and coins[1], tuple(colours) if permute_colours else (0, 1, 2))

    def of_images(self, rgb: Tensor) -> Tensor:
        """The images, varied."""
        if self.left_right:
            rgb = rgb.flip(2)
        if self.up_down:
            rgb = rgb.flip(1)
        if self.colours != (0, 1, 2):
            rgb = torch.stack([rgb[..., channel] for channel in (*self.colours, 3)], dim=3)
        return rgb

    def of_range_images(self, ranges: Tensor) -> Tensor:
        """The range images, mirrored.

        The LiDAR's angles are (k - 32) / 2 degrees: index k mirrors to 64 - k, and the outermost index 0 to itself.
        """
        if self.left_right:
            ranges = ranges.flip(1).roll(1, 1)
        if self.up_down:
            ranges = ranges.flip(2).roll(1, 2)
        return ranges
