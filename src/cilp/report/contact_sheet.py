"""A contact sheet of scenes: what the camera and the LiDAR see of each cube and of its sphere."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np

from cilp.atomic import replacing
from cilp.sensors import returns

matplotlib.use("Agg")
from matplotlib import pyplot as plt


@dataclass(frozen=True)
class View:
    """One object as seen by both sensors: RGBA (64, 64, 4) uint8 and range in metres (64, 64) float32."""

    title: str
    rgb: np.ndarray
    range: np.ndarray


def as_the_camera_sees_it(range_image: np.ndarray) -> np.ndarray:
    """A range image (azimuth, zenith, ...) turned so that rows go down and columns to the right, as in a picture."""
    return range_image.swapaxes(0, 1)[:, ::-1]


def draw_contact_sheet(columns: Sequence[Sequence[View]], target: Path) -> None:
    """Draw one column a scene, and in it image above range image for each of its views, into a PNG."""
    rows = 2 * len(columns[0])
    size = (1.25 * len(columns) + 0.9, 1.25 * rows + 0.5)
    figure, axes = plt.subplots(rows, len(columns), figsize=size, layout="constrained", squeeze=False)
    ranges = [view.range[returns(view.range)] for views in columns for view in views]
    nearest, farthest = (float(f(np.concatenate(ranges))) for f in (np.min, np.max))
    colours = matplotlib.colormaps["viridis_r"].with_extremes(bad="black")
    for column, views in enumerate(columns):
        for number, view in enumerate(views):
            image, depth = axes[2 * number, column], axes[2 * number + 1, column]
            image.imshow(view.rgb, interpolation="nearest")
            image.set_title(view.title, fontsize=8, pad=3)
            picture = as_the_camera_sees_it(np.ma.masked_array(view.range, ~returns(view.range)))
            shown = depth.imshow(picture, cmap=colours, vmin=nearest, vmax=farthest, interpolation="nearest")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_color("0.4")
    for row in range(rows):
        axes[row, 0].set_ylabel("LiDAR" if row % 2 else "camera", fontsize=9)
    figure.colorbar(shown, ax=axes, shrink=0.5, pad=0.01, label="range (m)")
    with replacing(target, "wb") as file:
        figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
    plt.close(figure)
