"""Made-up data for tests: no rendering, only shapes that a network can tell apart, and vectors."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from cilp.packed import SPLITS, Packed
from cilp.sensors import lidar_angles


def make_packed(train: int = 24, val: int = 8, test: int = 8, seed: int = 0, sensors: int = 1) -> Packed:
    """Scenes per split, each with a cube (a bright square) and a sphere (a dim cross) at a random place."""
    rng = np.random.default_rng(seed)
    scenes = train + val + test
    rgb = np.zeros((scenes, 2, 64, 64, 4), dtype=np.uint8)
    rgb[..., 3] = 255
    ranges = np.full((scenes, 2, 64, 64), 50.0, dtype=np.float32)
    for scene in range(scenes):
        row, column = rng.integers(12, 40, size=2)
        distance = rng.uniform(20, 30)
        colour = rng.integers(100, 255, size=3)
        rgb[scene, 0, row : row + 12, column : column + 12, :3] = colour
        ranges[scene, 0, row : row + 12, column : column + 12] = distance
        rgb[scene, 1, row + 4 : row + 8, column : column + 12, :3] = colour
        ranges[scene, 1, row + 4 : row + 8, column : column + 12] = distance
    labels = np.tile([0, 1], scenes)
    split = np.repeat(
        [SPLITS.index("train"), SPLITS.index("val"), SPLITS.index("test")], [2 * train, 2 * val, 2 * test]
    )
    angles = np.stack([lidar_angles() * (1 + 0.1 * k) for k in range(sensors)])
    return Packed(
        rgb=torch.from_numpy(rgb.reshape(-1, 64, 64, 4)),
        range=torch.from_numpy(ranges.reshape(-1, 64, 64)),
        label=torch.from_numpy(labels).byte(),
        scene=torch.from_numpy(np.repeat(np.arange(scenes), 2)).int(),
        split=torch.from_numpy(split).byte(),
        sensor=torch.from_numpy(labels % sensors).byte(),
        azimuth=torch.from_numpy(angles),
        zenith=torch.from_numpy(angles),
    )


def unit(rows: int, columns: int, seed: int) -> Tensor:
    """(rows, columns) float64: random vectors of unit length."""
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(rows, columns, generator=generator, dtype=torch.float64), dim=1)
