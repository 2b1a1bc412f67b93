"""What the App shows of an object: its range image as a picture, its point cloud as a scene."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image

from cilp.console.progress import track
from cilp.errors import UserError
from cilp.report.contact_sheet import TILT, TURN, as_the_camera_sees_it
from cilp.sensors import MAX_RANGE, returns
from cilp.subset.database import connect

PALETTE = np.vstack([np.zeros(3), matplotlib.colormaps["viridis"](np.linspace(0.1, 1, 255))[:, :3]])
"""Colours (256, 3) in [0, 1] of range images: black without a return, then from the farthest return to the nearest."""
EYE = 11 * np.array([math.sin(TURN) * math.cos(TILT), -math.cos(TURN) * math.cos(TILT), math.sin(TILT)])
"""From where a point cloud is looked at, in metres from its middle."""


def replace_media(dataset: Any, name: str, draw: Callable[[Path, Path], Path], folder: Path) -> None:
    """Replace the samples of a slice by ones that show what ``draw`` makes of the exported files, which ``file`` names.

    ``draw`` takes an exported file and a path in ``folder`` without suffix, and returns what it has written there.

    Raises:
        UserError: an exported file cannot be read.
    """
    fo = connect()
    columns = dataset.select_group_slices(name).values(["filepath", "group.id", "label.label", "scene", "tags"])
    samples = []
    for path, group, label, scene, tags in track(list(zip(*columns, strict=True)), f"drawing {name}", unit="objects"):
        try:
            drawn = draw(Path(path), folder / Path(path).stem)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(
                f"{path} cannot be read ({error}); run `dvc repro --force subset` to make it anew."
            ) from None
        element = fo.Group(id=group).element(name)
        samples.append(
            fo.Sample(
                str(drawn), group=element, label=fo.Classification(label=label), scene=scene, tags=tags, file=path
            )
        )
    dataset.delete_group_slice(name)
    dataset.add_samples(samples, progress=False)


def draw_range_image(path: Path, target: Path) -> Path:
    """Draw a range image (azimuth, zenith; metres; .npy) as the camera would see it, a pixel a ray, into a PNG.

    Colours span the object, from the farthest return (violet) to the nearest (yellow); black is no return.
    """
    range_image = np.load(path, allow_pickle=False)
    hit = returns(range_image)
    shade = np.zeros(range_image.shape, dtype=np.uint8)
    if hit.any():
        far = range_image[hit].max()
        depth = max(far - range_image[hit].min(), 1e-6)
        shade[hit] = 1 + np.rint(254 * (far - range_image[hit]) / depth).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(as_the_camera_sees_it(shade)))
    picture.putpalette(np.rint(255 * PALETTE).astype(np.uint8).tobytes())
    picture.save(target.with_suffix(".png"))
    return target.with_suffix(".png")


def set_scene(path: Path, target: Path) -> Path:
    """Put a point cloud (.pcd) into a 3D scene (.fo3d) that is entered looking at it from the right and above."""
    fo = connect()
    points = np.frombuffer(path.read_bytes().partition(b"DATA binary\n")[2], dtype="<f4").reshape(-1, 3)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2 if len(points) else np.array([0.0, MAX_RANGE / 2, 0.0])
    eye = middle + EYE
    scene = fo.Scene(camera=fo.PerspectiveCamera(position=eye.tolist(), look_at=middle.tolist(), up="Z"))
    scene.add(fo.PointCloud("returns", str(path), fo.PointCloudMaterial(shading_mode="height", point_size=4.0)))
    scene.write(str(target.with_suffix(".fo3d")))
    return target.with_suffix(".fo3d")
