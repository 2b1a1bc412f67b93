import math

import numpy as np

from cilp.sensors import lidar_angles, point_cloud, ray_directions


def test_angles_run_from_minus_16_to_15_5_degrees_in_half_degrees():
    degrees = np.rad2deg(lidar_angles().astype(np.float64))
    np.testing.assert_allclose(degrees, np.arange(-16, 16, 0.5), atol=1e-5)
    assert lidar_angles().dtype == np.float32


def test_directions_follow_the_sensor_model_ray_by_ray():
    angles = lidar_angles().astype(np.float64)
    directions = ray_directions(angles, angles)
    for row, column in [(0, 0), (0, 63), (32, 32), (63, 0), (17, 45)]:
        a, e = angles[row], angles[column]
        expected = [math.sin(-a) * math.cos(-e), math.cos(-a) * math.cos(-e), math.sin(-e)]
        np.testing.assert_allclose(directions[row, column], expected, atol=1e-15)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1, atol=1e-12)
    np.testing.assert_allclose(directions[32, 32], [0, 1, 0], atol=1e-15)  # straight ahead


def test_a_point_cloud_holds_the_returns_only():
    ranges = np.full((64, 64), 50.0, dtype=np.float32)
    ranges[32, 32], ranges[32, 0] = 25.0, 20.0
    points = point_cloud(ranges, ray_directions(lidar_angles(), lidar_angles()))
    assert points.shape == (2, 3)
    np.testing.assert_allclose(points[1], [0, 25, 0], atol=1e-9)
    assert points[0, 2] > 0  # negative zenith angles look up
