"""Sensors that fail or go missing, and what classifiers make of what is left."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cilp.sensors import MAX_RANGE
from cilp.training.inputs import Split

NEAREST = 0.1
"""Least range in metres that noise leaves."""
FARTHEST = float(np.nextafter(np.float32(MAX_RANGE), np.float32(0)))
"""Largest range that still reads as a hit, as float32 holds it."""


@dataclass(frozen=True)
class FailureParams:
    """Over how many test pairs, with which random numbers, and to which degrees each sensor fails."""

    pairs: int
    seed: int
    beams_dropped: list[float]
    """Shares of the LiDAR's rays that return nothing; 1 is a missing LiDAR."""
    range_noise: list[float]
    """Standard deviations in metres, of rays that return something."""
    image_noise: list[float]
    """Standard deviations, as a share of the brightest pixel value."""
    exposure: list[float]
    """Factors of the light that reaches the camera; 0 is a missing image, above 1 it saturates."""

    def __post_init__(self) -> None:
        if self.pairs < 2:
            raise ValueError(f"pairs must be at least 2; got {self.pairs}.")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more; got {self.seed}.")
        for name, most in (("beams_dropped", 1.0), ("range_noise", 10.0), ("image_noise", 1.0), ("exposure", 100.0)):
            given = getattr(self, name)
            if not given or not all(0 <= level <= most for level in given):
                raise ValueError(f"{name} must be a list of one or more numbers from 0 to {most:g}; got {given}.")


def beams_dropped(split: Split, share: float, generator: torch.Generator) -> Split:
    """Each ray returns nothing with probability ``share``."""
    lost = torch.rand(split.range.shape, generator=generator) < share
    return replace(split, range=split.range.masked_fill(lost.to(split.range.device), MAX_RANGE))


def range_noise(split: Split, deviation: float, generator: torch.Generator) -> Split:
    """Ranges of rays that hit something are off by Gaussian noise, in metres; what hit still reads as a hit."""
    noise = torch.randn(split.range.shape, generator=generator).to(split.range.device) * deviation
    noisy = (split.range + noise).clamp(NEAREST, FARTHEST)
    return replace(split, range=torch.where(split.range < MAX_RANGE, noisy, split.range))


def image_noise(split: Split, deviation: float, generator: torch.Generator) -> Split:
    """Pixel values are off by Gaussian noise; alpha is not."""
    noise = torch.randn((*split.rgb.shape[:3], 3), generator=generator).to(split.rgb.device) * (255 * deviation)
    return _with_colour(split, split.rgb[..., :3] + noise)


def exposure(split: Split, factor: float, _: torch.Generator) -> Split:
    """Linear light (IEC 61966-2-1) is multiplied by ``factor`` and saturates."""
    encoded = split.rgb[..., :3].float() / 255
    linear = torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    linear = (linear * factor).clamp(0, 1)
    encoded = torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp(min=1e-9) ** (1 / 2.4) - 0.055)
    return _with_colour(split, encoded * 255)


def _with_colour(split: Split, colour: Tensor) -> Split:
    rgb = split.rgb.clone()
    rgb[..., :3] = colour.round().clamp(0, 255).byte()
    return replace(split, rgb=rgb)


FAILURES: dict[str, Callable[[Split, float, torch.Generator], Split]] = {
    "beams_dropped": beams_dropped,
    "range_noise": range_noise,
    "image_noise": image_noise,
    "exposure": exposure,
}


def levels(params: FailureParams) -> int:
    """How many ``failing`` goes through."""
    return sum(len(getattr(params, name)) for name in FAILURES)


def failing(split: Split, params: FailureParams) -> Iterator[tuple[str, float, Split]]:
    """The first ``params.pairs`` of a split under every failure at every level: name, level, what the sensors give."""
    part = split.first(params.pairs)
    for name, failure in FAILURES.items():
        for level in getattr(params, name):
            yield name, level, failure(part, level, torch.Generator().manual_seed(params.seed))


def failed(split: Split, sound: Split) -> set[str]:
    """The modalities, ``rgb`` and ``lidar``, that show anything else than in the same pairs without a failure."""
    pixels = {"rgb": (split.rgb, sound.rgb), "lidar": (split.range, sound.range)}
    return {modality for modality, (failing, whole) in pixels.items() if not torch.equal(failing, whole)}
