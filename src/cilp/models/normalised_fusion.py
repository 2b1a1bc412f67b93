"""A fusion whose inputs are normalised, as the embedders' are by default but for alpha; it has no more parameters."""

import torch
from torch import Tensor, nn

from cilp.models import fusion as fusions
from cilp.models.embedder import shading


class NormalisedFusion(nn.Module):
    """Image as shading, XYZ around ``xyz_centre`` in units of ``xyz_scale`` metres and zero where nothing was met.

    Alpha and hit mask stay as they are; of ``embedder``'s params, ``xyz_centre`` and ``xyz_scale`` alone count. To a
    fusion that sees RGBA and XYZ in units of 50 m the shape hardly shows: across 3 m of an object its inputs change by
    0.06.
    """

    centre: Tensor
    unit: Tensor

    def __init__(self, fusion: str, downsampling: str, xyz_centre: list[float], xyz_scale: float):
        super().__init__()
        self.fusion = fusions.build(fusion, downsampling, xyz_scale=1.0)
        self.register_buffer("centre", torch.tensor([*xyz_centre, 0.0]).view(1, 4, 1, 1), persistent=False)
        unit = torch.tensor([1 / xyz_scale] * 3 + [1.0]).view(1, 4, 1, 1)
        self.register_buffer("unit", unit, persistent=False)

    def forward(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        """RGBA in [0, 1] and XYZA in metres, (B, 4, 64, 64) each -> logits (B,), positive for a sphere."""
        image = torch.cat([shading(rgb)[:, :3], rgb[:, 3:]], dim=1)
        return self.fusion(image, (lidar - self.centre) * self.unit * lidar[:, 3:])


def build(fusion: str, downsampling: str, xyz_centre: list[float], xyz_scale: float) -> NormalisedFusion:
    """An untrained network; ``ValueError`` names the legal fusions."""
    return NormalisedFusion(fusion, downsampling, xyz_centre, xyz_scale)
