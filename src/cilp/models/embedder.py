"""The embedder that the LiDAR classifier and CILP share: one 64x64 view of a sensor -> one point on the unit sphere."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from cilp.models.layers import sparse
from cilp.models.layers.background import darkness, emptiness
from cilp.models.layers.blocks import encoder

EMBEDDING = 200
"""Length of an embedding."""
MODALITIES = ("rgb", "lidar")
RGB = ("shading", "plain")
INITIALISATIONS = ("he", "torch")


@dataclass(frozen=True)
class EmbedderParams:
    """How embedders see their inputs and how they begin; none of it adds a parameter to learn."""

    rgb: str
    """``shading``: linear light, each channel relative to its brightest pixel, alpha - 1. ``plain``: as it is."""
    xyz_centre: tuple[float, float, float]
    """Origin of XYZ, in metres."""
    xyz_scale: float
    """Unit of XYZ, in metres."""
    zero_background: bool
    """Whether XYZ is zero where a ray met nothing, instead of the point at maximum range."""
    initialisation: str
    """``he``: He et al. 2015, which keeps the signal's size from layer to layer. ``torch``: PyTorch's default."""

    def __post_init__(self) -> None:
        for name, legal in (("rgb", RGB), ("initialisation", INITIALISATIONS)):
            if getattr(self, name) not in legal:
                raise ValueError(f"{name} is {getattr(self, name)!r}; legal values: {', '.join(legal)}.")
        if not 0 < self.xyz_scale < math.inf:
            raise ValueError(f"xyz_scale must be positive; got {self.xyz_scale}.")
        if not all(map(math.isfinite, self.xyz_centre)):
            raise ValueError(f"xyz_centre must be finite; got {list(self.xyz_centre)}.")

    def arguments(self) -> dict[str, Any]:
        """As plain values, which a checkpoint keeps and ``build`` takes."""
        return {**asdict(self), "xyz_centre": list(self.xyz_centre)}


class Embedder(nn.Module):
    """(B, 4, 64, 64) -> (B, 200) of unit length, 927,650 parameters.

    ``rgb`` takes RGBA in [0, 1], ``lidar`` XYZA in metres.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, modality: str, params: EmbedderParams):
        super().__init__()
        if modality not in MODALITIES:
            raise ValueError(f"modality is {modality!r}; legal values: {', '.join(MODALITIES)}")
        self.modality, self.params = modality, params
        self.register_buffer("centre", torch.tensor([*params.xyz_centre, 0.0]).view(1, 4, 1, 1), persistent=False)
        scale = torch.tensor([1 / params.xyz_scale] * 3 + [1.0]).view(1, 4, 1, 1)
        self.register_buffer("scale", scale, persistent=False)
        self.convolutions = encoder([4, 50, 100, 200, 200], "maxpool")  # (B, 200, 4, 4)
        self.projection = nn.Sequential(nn.Flatten(), nn.Linear(200 * 4 * 4, 100), nn.ReLU(), nn.Linear(100, EMBEDDING))
        if params.initialisation == "he":
            self.apply(initialise)

    def prepare(self, view: Tensor) -> Tensor:
        """What the first convolution sees, (B, 4, 64, 64)."""
        if self.modality == "lidar":
            x = (view - self.centre) * self.scale
            return x * view[:, 3:] if self.params.zero_background else x
        return shading(view) if self.params.rgb == "shading" else view

    def forward(self, view: Tensor) -> Tensor:
        def nothing() -> Tensor:
            empty = emptiness(view) if self.modality == "lidar" else darkness(view)
            return self.prepare(empty.unsqueeze(0)).squeeze(0)

        return normalize(self.projection(sparse.encode(self.convolutions, self.prepare(view), nothing)), dim=1)


def shading(rgba: Tensor) -> Tensor:
    """RGBA (B, 4, H, W) in [0, 1] -> how brightly each pixel is lit, per colour channel relative to the brightest one.

    Colours are decoded from sRGB (IEC 61966-2-1) to linear light. An object has one colour, so each channel then holds
    the same picture, whatever the colour and the exposure. Black with alpha 1 gives zero in all four channels.
    """
    colour = rgba[:, :3]
    light = torch.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    brightest = light.amax(dim=(2, 3), keepdim=True)
    return torch.cat([light / brightest.clamp(min=1e-4), rgba[:, 3:] - 1], dim=1)


def initialise(module: nn.Module) -> None:
    """He et al. 2015 (arXiv:1502.01852), for ``Module.apply``: what a layer begins with, biases at zero."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(module.bias)


def build(modality: str, **params: Any) -> Embedder:
    """An untrained embedder of ``modality``, ``rgb`` or ``lidar``."""
    return Embedder(modality, EmbedderParams(**params))
