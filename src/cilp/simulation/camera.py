"""The camera's picture of one object: a pinhole at the origin that looks along +y, before a black background.

Columns follow +x, rows go down along -z. Surfaces are matt (Lambert) under one directional light; what is turned away
from it gets ambient light only.
"""

import math
from dataclasses import dataclass

import numpy as np

from cilp.simulation.raycast import Cube, Sphere

IMAGE_SIZE = 64


@dataclass(frozen=True)
class Camera:
    """``fov`` in degrees, horizontal and vertical; each pixel is the mean of ``antialiasing`` x ``antialiasing`` rays.

    Light is linear: 1 is what a white face turned straight to a light of intensity 1 sends, and where pixels saturate.
    """

    fov: float
    antialiasing: int
    light_intensity: float
    ambient: float

    def picture(self, shape: Cube | Sphere, light: np.ndarray, albedo: np.ndarray) -> np.ndarray:
        """Render ``shape``: (64, 64, 4) uint8 RGBA in sRGB encoding, alpha 255.

        Args:
            light: unit vector (3,) towards the light.
            albedo: linear RGB reflectance (3,), each in [0, 1].
        """
        x, y, z = shape.centre
        columns = self._window(math.atan2(x, y), shape.reach / math.hypot(x, y))
        rows = self._window(math.atan2(-z, y), shape.reach / math.hypot(y, z))
        image = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 4), dtype=np.uint8)
        image[..., 3] = 255
        lit = self._light(shape, light, rows, columns)  # (rows, columns)
        image[rows, columns, :3] = np.rint(255 * encode_srgb(np.minimum(lit[..., None] * albedo, 1)))
        return image

    def _light(self, shape: Cube | Sphere, light: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        """Light that a white object sends to each pixel of the window, averaged over the rays of the pixel."""
        right, down = self._slopes(columns), self._slopes(rows)  # (columns * n,), (rows * n,)
        length = np.sqrt(1 + right * right + down[:, None] * down[:, None])
        rays = np.stack([right / length, 1 / length, -down[:, None] / length], axis=-1)
        reached, normal = shape.intersect(rays)
        facing = normal[..., 0] * light[0] + normal[..., 1] * light[1] + normal[..., 2] * light[2]
        sent = np.where(np.isfinite(reached), self.ambient + self.light_intensity * np.maximum(facing, 0), 0)
        n = self.antialiasing
        return sent.reshape(len(down) // n, n, len(right) // n, n).mean(axis=(1, 3))

    def _slopes(self, pixels: slice) -> np.ndarray:
        """Tangent of the angle to the optical axis of the rays of some rows or columns, (pixels * antialiasing,)."""
        n = self.antialiasing
        position = (np.arange(pixels.start * n, pixels.stop * n) + 0.5) / (IMAGE_SIZE * n)  # in (0, 1)
        return (2 * position - 1) * math.tan(math.radians(self.fov) / 2)

    def _window(self, centre: float, sine: float) -> slice:
        """The rows or columns that an object within arcsin(``sine``) of the angle ``centre`` (radians) can touch."""
        half = math.asin(min(sine, 1.0))
        edges = (max(centre - half, -1.5), min(centre + half, 1.5))  # a tangent turns over at pi / 2
        first, last = ((math.tan(edge) / math.tan(math.radians(self.fov) / 2) + 1) / 2 * IMAGE_SIZE for edge in edges)
        start, stop = max(math.floor(first), 0), min(math.floor(last) + 1, IMAGE_SIZE)
        return slice(start, max(stop, start))


def encode_srgb(linear: np.ndarray) -> np.ndarray:
    """sRGB transfer function (IEC 61966-2-1) of linear light in [0, 1]."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.power(linear, 1 / 2.4) - 0.055)


def decode_srgb(encoded: np.ndarray) -> np.ndarray:
    """Linear light of sRGB values in [0, 1]: the inverse of ``encode_srgb``."""
    return np.where(encoded <= 0.04045, encoded / 12.92, np.power((encoded + 0.055) / 1.055, 2.4))
