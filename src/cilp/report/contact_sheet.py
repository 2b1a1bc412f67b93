"""A contact sheet of scenes: what the camera and the LiDAR see of each cube and of its sphere, and its point cloud."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap

from cilp.report.style import save
from cilp.sensors import MAX_RANGE, returns

ROWS = ("camera", "LiDAR", "point cloud")
TURN, TILT = math.radians(55), math.radians(25)
"""From where point clouds are looked at: from the right and above, so that what the sensors see is in profile."""
LIGHT = 0.72
"""How much of the colours is used: the dark ones would not show on black."""
REACH = 3.0
"""Metres around the middle of a point cloud that are shown."""


@dataclass(frozen=True)
class View:
    """One object: RGBA (64, 64, 4) uint8, range in metres (64, 64) float32, and its returns (n, 3) in metres."""

    title: str
    rgb: np.ndarray
    range: np.ndarray
    points: np.ndarray


def as_the_camera_sees_it(range_image: np.ndarray) -> np.ndarray:
    """A range image (azimuth, zenith, ...) turned so that rows go down and columns to the right, as in a picture."""
    return range_image.swapaxes(0, 1)[:, ::-1]


def from_the_side(points: np.ndarray) -> np.ndarray:
    """Points (n, 3) -> (n, 3): to the right, up and towards the eye, in metres about their middle, orthographic."""
    if not len(points):
        return points
    x, y, z = (points - (points.min(axis=0) + points.max(axis=0)) / 2).T
    right, away = x * math.cos(TURN) + y * math.sin(TURN), y * math.cos(TURN) - x * math.sin(TURN)
    return np.stack(
        [right, z * math.cos(TILT) + away * math.sin(TILT), z * math.sin(TILT) - away * math.cos(TILT)], axis=1
    )


def draw_contact_sheet(columns: Sequence[Sequence[View]], target: Path) -> None:
    """Draw one or more scenes, a column each: image, range image and point cloud of each of its views, into a PNG."""
    rows = len(ROWS) * len(columns[0])
    size = (1.25 * len(columns) + 0.9, 1.25 * rows + 0.5)
    figure, axes = plt.subplots(rows, len(columns), figsize=size, layout="constrained", squeeze=False)
    ranges = np.concatenate([view.range[returns(view.range)] for views in columns for view in views])
    nearest, farthest = (float(ranges.min()), float(ranges.max())) if len(ranges) else (0.0, MAX_RANGE)
    light = colormaps["viridis_r"](np.linspace(0, LIGHT, 256))
    colours = ListedColormap(light).with_extremes(bad="black")
    for column, views in enumerate(columns):
        for number, view in enumerate(views):
            image, depth, cloud = axes[len(ROWS) * number : len(ROWS) * (number + 1), column]
            image.imshow(view.rgb, interpolation="nearest")
            image.set_title(view.title, fontsize=8, pad=3)
            picture = as_the_camera_sees_it(np.ma.masked_array(view.range, ~returns(view.range)))
            shown = depth.imshow(picture, cmap=colours, vmin=nearest, vmax=farthest, interpolation="nearest")
            seen = from_the_side(view.points)
            far = np.linalg.norm(view.points, axis=1)
            order = seen[:, 2].argsort(kind="stable")  # the nearest to the eye last, on top
            cloud.scatter(
                *seen[order, :2].T, c=far[order], s=3, linewidths=0, cmap=colours, vmin=nearest, vmax=farthest
            )
            cloud.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal", facecolor="black")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_color("0.4")
    for row in range(rows):
        axes[row, 0].set_ylabel(ROWS[row % len(ROWS)], fontsize=9)
    figure.colorbar(shown, ax=axes, shrink=0.4, pad=0.01, label="range (m)")
    save(figure, target, 100)
