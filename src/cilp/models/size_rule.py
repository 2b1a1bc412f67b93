"""A rule instead of a network, a decision stump: how large an object looks to the LiDAR, against one threshold."""

from typing import Self

import torch
from torch import Tensor, nn


def area_seen(xyza: Tensor) -> Tensor:
    """Area in m² of an object across the line of sight, (B,) float64, from XYZA (B, 4, 64, 64) in metres.

    Each return stands for the solid angle of its ray, the steps of azimuth and zenith times cos(zenith), at its range.
    The steps are read off the rays, which need no return for that. From far away the sum is the area of a sphere's
    disc, pi r², and of a cube of edge a between a² and sqrt(3) a²; at 25 m it is some 8 % less of an object of 3 m,
    whose near side is what returns.
    """
    x, y, z, hit = xyza.double().unbind(dim=1)
    across = torch.hypot(x, y)  # range times cos(zenith)
    at_range = torch.hypot(across, z)
    (azimuth,), (zenith,) = torch.gradient(torch.atan2(x, y), dim=1), torch.gradient(torch.atan2(z, across), dim=2)
    return (hit * at_range * across * azimuth.abs() * zenith.abs()).sum(dim=(1, 2))


class SizeRule(nn.Module):
    """What looks larger than ``threshold`` (m²) is a cube, what looks smaller a sphere, or the other way round.

    ``sign`` is 1 where spheres are the smaller ones, else -1.
    """

    def __init__(self, threshold: float, sign: int = 1):
        super().__init__()
        self.threshold, self.sign = threshold, sign

    def forward(self, xyza: Tensor) -> Tensor:
        """XYZA in metres, (B, 4, 64, 64) -> how far from the threshold in m², (B,) float64, positive for a sphere."""
        return self.margin(area_seen(xyza))

    def margin(self, area: Tensor) -> Tensor:
        """The same from the areas themselves, (B,) m²."""
        return self.sign * (self.threshold - area)

    @classmethod
    def fit(cls, area: Tensor, label: Tensor) -> Self:
        """The threshold, halfway between two samples, that is right on most: of ``area`` (N,) in m², N at least 2.

        ``label`` (N,) is 1 for a sphere. Of several that are as good, the lowest.
        """
        area, order = area.double().cpu().sort()
        sphere = label.cpu()[order] > 0.5
        # right on a sample below each gap that is a sphere, and on one above it that is a cube
        right = sphere.cumsum(0)[:-1] + (~sphere).sum() - (~sphere).cumsum(0)[:-1]
        right[area[1:] == area[:-1]] = len(area) // 2  # no gap there; as many right as wrong is no more than any has
        either = torch.stack([right, len(area) - right])
        sign, gap = divmod(int(either.flatten().argmax()), len(right))
        return cls(((area[gap] + area[gap + 1]) / 2).item(), -1 if sign else 1)


def build(threshold: float, sign: int) -> SizeRule:
    """For ``load_checkpoint``."""
    return SizeRule(threshold, sign)
