"""What a sensor shows where there is nothing to see."""

import torch
from torch import Tensor

VIEWS = 8
"""Views among which the empty one is looked for. An object covers about a twentieth of a view, so that hardly a ray
meets one in all of so many."""


def darkness(rgb: Tensor) -> Tensor:
    """The image (4, H, W) in which nothing is seen, opaque black, for RGBA images (B, 4, H, W) in [0, 1]."""
    empty = torch.zeros_like(rgb[0])  # made on the device: copying four numbers to a GPU would hold the host up
    empty[3] = 1.0
    return empty


def emptiness(lidar: Tensor) -> Tensor:
    """The view (4, H, W) in which no ray meets anything, as XYZA views (B, 4, H, W) show it where their mask is 0.

    A ray that meets something in each of the first ``VIEWS`` gives no hint, and shows what it shows in one of them;
    any other view would do too, but more of each view then differs from it.
    """
    views = lidar[:VIEWS]
    while len(views) > 1:  # by halves: a few small operations instead of a reduction along the slowest axis
        half = (len(views) + 1) // 2
        first, second = views[:half], views[-half:]
        views = torch.where(second[:, 3:] < first[:, 3:], second, first)
    return views[0]
