"""CILP, contrastive image-LiDAR pretraining: one embedder for each modality, and the temperature of their logits."""

import math

import torch
from torch import Tensor, nn

from cilp.models.embedder import Embedder, EmbedderParams
from cilp.models.layers.blocks import at_once

INITIAL_TEMPERATURE = 0.07
HIGHEST_LOGIT_SCALE = 100.0
"""Both as in CLIP (Radford et al. 2021, section 2.5)."""


class Cilp(nn.Module):
    """Image and LiDAR embedders, and the logarithm of the logit scale (1 / temperature): 1,855,301 parameters."""

    def __init__(self, params: EmbedderParams):
        super().__init__()
        self.rgb, self.lidar = Embedder("rgb", params), Embedder("lidar", params)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(INITIAL_TEMPERATURE)))

    def forward(self, rgb: Tensor, lidar: Tensor) -> tuple[Tensor, Tensor]:
        """RGBA and XYZA of the same pairs, (B, 4, 64, 64) each -> their embeddings, (B, 200) each."""
        return at_once(rgb, self.rgb, lidar, self.lidar)

    def temperature(self) -> float:
        """What cosines are divided by to become logits."""
        return math.exp(-self.log_scale.item())

    @torch.no_grad()
    def clamp_temperature(self) -> None:
        """Keep the logit scale at 100 at most; call it after each step."""
        self.log_scale.clamp_(max=math.log(HIGHEST_LOGIT_SCALE))


def build(**params) -> Cilp:
    """An untrained CILP model."""
    return Cilp(EmbedderParams(**params))
