"""Networks that have a loss for each sensor while they train, beside that of what they say together.

What is there for such a loss alone, a head on either encoder, is left aside once they are trained.
"""

import torch
from torch import Tensor, nn

from cilp.models import sparse
from cilp.models.background import darkness, emptiness
from cilp.models.blocks import Downsample, classifier_head
from cilp.models.decision import DecisionFusion
from cilp.models.fusion import Fusion
from cilp.models.fusion._base import IntermediateFusion, encode_lidar, encode_rgb
from cilp.models.fusion.late import LateFusion
from cilp.models.normalised_fusion import NormalisedFusion


class DecisionLosses(DecisionFusion):
    """While it trains, it gives the logits of its networks beside their sum: (B, 3), the sum first."""

    def forward(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        """RGBA in [0, 1] and XYZA in metres, (B, 4, 64, 64) each."""
        apart = [network(rgb, lidar) for network in self.networks]
        return torch.stack([sum(apart), *apart], dim=1) if self.training else sum(apart)


class FusionLosses(nn.Module):
    """A fusion that gives, while it trains, (B, 3) logits: its own, and those of a head on either encoder."""

    def __init__(self, fusion: Fusion):
        super().__init__()
        self.fusion = fusion
        self.heads = nn.ModuleList(self.head() for _ in range(2))

    def head(self) -> nn.Module:
        """What stands on an encoder, untrained."""
        raise NotImplementedError

    def logits(self, rgb: Tensor, lidar: Tensor) -> list[Tensor]:
        """RGBA and scaled XYZA (B, 4, 64, 64) each -> (B, 1) of the fusion, of the image and of the LiDAR."""
        raise NotImplementedError

    def forward(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        """RGBA in [0, 1] and XYZA in metres, (B, 4, 64, 64) each, or normalised."""
        if not self.training:
            return self.fusion(rgb, lidar)
        return torch.cat(self.logits(rgb, lidar * self.fusion.xyz_unit), dim=1)


class LateLosses(FusionLosses):
    """Of late fusion: each head sees the vector of one sensor."""

    def head(self) -> nn.Module:
        return classifier_head(100)

    def logits(self, rgb: Tensor, lidar: Tensor) -> list[Tensor]:
        late = self.fusion
        vectors = late.rgb_vector(encode_rgb(late.rgb, rgb)), late.lidar_vector(encode_lidar(late.lidar, lidar))
        apart = (head(vector) for head, vector in zip(self.heads, vectors, strict=True))
        return [late.head(torch.cat(vectors, dim=1)), *apart]


class IntermediateLosses(FusionLosses):
    """Of intermediate fusion: behind each sensor's feature maps stands what the baseline of that sensor has there."""

    def head(self) -> nn.Module:
        downsampling = "maxpool" if self.fusion.fused.convolution.stride == (1, 1) else "strided"
        return nn.Sequential(Downsample(100, 100, downsampling), nn.Flatten(), *classifier_head(100 * 8 * 8))

    def logits(self, rgb: Tensor, lidar: Tensor) -> list[Tensor]:
        fusion = self.fusion
        if sparse.usable(rgb, blocks=3):
            maps = (
                sparse.feature_maps(fusion.rgb, rgb, darkness(rgb)),
                sparse.feature_maps(fusion.lidar, lidar, emptiness(lidar)),
            )
            fused = sparse.dense(sparse.downsample(fusion.fused, *maps, fuse=fusion.fuse))
            apart = [
                head[1:](sparse.dense(sparse.downsample(head[0], of_one)))
                for head, of_one in zip(self.heads, maps, strict=True)
            ]
        else:
            maps = encode_rgb(fusion.rgb, rgb), encode_lidar(fusion.lidar, lidar)
            fused = fusion.fused(fusion.fuse(*maps))
            apart = [head(of_one) for head, of_one in zip(self.heads, maps, strict=True)]
        return [fusion.head(fused), *apart]


def with_losses(network: NormalisedFusion | Fusion) -> nn.Module:
    """The same with a loss for each sensor; ``TypeError`` if it has no encoder for each."""
    if isinstance(network, NormalisedFusion):
        network.fusion = with_losses(network.fusion)
        return network
    for kind, losses in ((LateFusion, LateLosses), (IntermediateFusion, IntermediateLosses)):
        if isinstance(network, kind):
            return losses(network)
    raise TypeError(f"{type(network).__name__} has no encoder for each sensor")
