"""Intermediate fusion by the Hadamard (element-wise) product, 824,201 parameters."""

from torch import Tensor

from cilp.models.fusion._base import IntermediateFusion


class HadamardFusion(IntermediateFusion):
    """The feature maps are multiplied."""

    def fuse(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        return rgb * lidar
