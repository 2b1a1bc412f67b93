"""Decision-level fusion: networks that see one sensor each, both asked."""

from collections.abc import Iterable

from torch import Tensor, nn


class DecisionFusion(nn.Module):
    """The log odds that each network gives are added up.

    That is the product rule of Kittler et al. 1998 (doi:10.1109/34.667881), for classes that are as frequent.
    """

    def __init__(self, networks: Iterable[nn.Module]):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        """RGBA in [0, 1] and XYZA in metres, (B, 4, 64, 64) each -> logits (B,), positive for a sphere."""
        image, view = (network(rgb, lidar) for network in self.networks)
        return image + view
