"""Exact intersections of rays from the origin with a cube and a sphere, and the LiDAR's range image of either.

Rays are unit vectors (..., 3) float64. Sums over coordinates are written out, because a matrix product may round
differently from one array shape or BLAS to the next.
"""

import math
from dataclasses import dataclass

import numpy as np

from cilp.sensors import LIDAR_SIZE, MAX_RANGE, lidar_angles, ray_directions

AZIMUTH = ZENITH = lidar_angles()
RAYS = ray_directions(AZIMUTH, ZENITH)
WINDOW_MARGIN = 1e-6
"""Radians by which a window is wider than the object, so that rounding costs no ray."""


@dataclass(frozen=True)
class Cube:
    """A cube of ``edge`` metres; the columns of ``rotation`` (3, 3) are its axes, ``centre`` (3,) is in metres."""

    centre: np.ndarray
    edge: float
    rotation: np.ndarray

    @property
    def reach(self) -> float:
        """Radius in metres of the ball around the centre that holds the object."""
        return self.edge * math.sqrt(3) / 2

    def intersect(self, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Range (...) in metres at which each ray enters, infinite where it misses, and the unit normal (..., 3) there.

        The normal of a ray that misses means nothing. Slab method: the ray is inside the cube where it is inside all
        three pairs of parallel faces.
        """
        along = _rows_dot(rays, self.rotation)  # (..., 3), the ray in the cube's axes
        start = _rows_dot(-self.centre, self.rotation)
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = 1 / along
            middle, half = -start * inverse, self.edge / 2 * np.abs(inverse)
            enter, leave = middle - half, middle + half
        parallel = along == 0  # to a pair of faces: between them all along, or never
        if parallel.any():
            between = np.abs(start) <= self.edge / 2
            enter = np.where(parallel, np.where(between, -np.inf, np.inf), enter)
            leave = np.where(parallel, np.inf, leave)
        axis = enter.argmax(axis=-1)
        near = enter.max(axis=-1)
        hit = (near <= leave.min(axis=-1)) & (near > 0) & (near < np.inf)
        facing = np.where(np.take_along_axis(along, axis[..., None], axis=-1) > 0, -1.0, 1.0)
        return np.where(hit, near, np.inf), facing * self.rotation.T[axis]


@dataclass(frozen=True)
class Sphere:
    """A sphere of ``radius`` metres about ``centre`` (3,) in metres."""

    centre: np.ndarray
    radius: float

    @property
    def reach(self) -> float:
        """Radius in metres of the ball around the centre that holds the object."""
        return self.radius

    def intersect(self, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As ``Cube.intersect``."""
        x, y, z = self.centre
        nearest = rays[..., 0] * x + rays[..., 1] * y + rays[..., 2] * z  # range of the ray's point next to the centre
        squared = nearest * nearest - (x * x + y * y + z * z - self.radius * self.radius)
        near = nearest - np.sqrt(np.maximum(squared, 0))
        hit = (squared >= 0) & (near > 0)
        return np.where(hit, near, np.inf), (near[..., None] * rays - self.centre) / self.radius


def range_image(shape: Cube | Sphere) -> np.ndarray:
    """What the LiDAR reads of an object in front of it: (64, 64) float32 metres, ``MAX_RANGE`` where nothing is hit."""
    x, y, z = shape.centre
    rows = _window(-AZIMUTH, math.atan2(x, y), shape.reach / math.hypot(x, y))
    columns = _window(-ZENITH, math.atan2(z, math.hypot(x, y)), shape.reach / math.hypot(x, y, z))
    image = np.full((LIDAR_SIZE, LIDAR_SIZE), MAX_RANGE, dtype=np.float32)
    image[rows, columns] = np.minimum(shape.intersect(RAYS[rows, columns])[0], MAX_RANGE)
    return image


def _window(angles: np.ndarray, centre: float, sine: float) -> slice:
    """The run of sorted ``angles`` within arcsin(``sine``) of ``centre``, all in radians."""
    inside = np.flatnonzero(np.abs(angles - centre) <= math.asin(min(sine, 1.0)) + WINDOW_MARGIN)
    return slice(inside[0], inside[-1] + 1) if len(inside) else slice(0, 0)


def _rows_dot(vectors: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """``vectors @ matrix`` for (..., 3) and (3, 3)."""
    return vectors[..., 0:1] * matrix[0] + vectors[..., 1:2] * matrix[1] + vectors[..., 2:3] * matrix[2]
