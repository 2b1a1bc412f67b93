"""Geometry of the two sensors, which share the origin: x right, y forward, z up, in metres and radians.

The LiDAR has 64 azimuth (rows) by 64 zenith (columns) angles, ``(k - 32) * 0.5`` degrees each. A ray with azimuth a and
zenith e points along ``(sin(-a) cos(-e), cos(-a) cos(-e), sin(-e))`` and reads ``MAX_RANGE`` when it hits nothing.
"""

import numpy as np

LIDAR_SIZE = 64
LIDAR_STEP_DEGREES = 0.5
MAX_RANGE = 50.0
"""Range in metres that a ray which hits nothing reads."""


def lidar_angles() -> np.ndarray:
    """Azimuth (equally, zenith) angles of the LiDAR: (64,) float32 radians from -16.0 to +15.5 degrees."""
    degrees = (np.arange(LIDAR_SIZE) - LIDAR_SIZE // 2) * LIDAR_STEP_DEGREES
    return np.deg2rad(degrees).astype(np.float32)


def ray_directions(azimuth: np.ndarray, zenith: np.ndarray) -> np.ndarray:
    """Unit vectors of every LiDAR ray, (azimuths, zeniths, 3) float64, for angles in radians."""
    a = -np.asarray(azimuth, dtype=np.float64)[:, None]
    e = -np.asarray(zenith, dtype=np.float64)[None, :]
    return np.stack([np.sin(a) * np.cos(e), np.cos(a) * np.cos(e), np.sin(e) * np.ones_like(a)], axis=-1)


def returns(range_image: np.ndarray) -> np.ndarray:
    """Hit mask of range images in metres: True where the ray met something nearer than ``MAX_RANGE``."""
    return range_image < MAX_RANGE


def point_cloud(range_image: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """The returns of one range image (64, 64) as points (n, 3) float64 in metres, without the rays that hit nothing."""
    hit = returns(range_image)
    return range_image[hit][:, None].astype(np.float64) * directions[hit]
