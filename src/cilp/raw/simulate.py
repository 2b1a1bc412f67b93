"""Simulated data: ray-cast scenes written in the raw layout."""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from cilp.console.progress import track
from cilp.errors import UserError
from cilp.raw.layout import CLASSES, Pair, lidar_path, rgb_path, write_calibration
from cilp.simulation.processes import shared_out
from cilp.simulation.raycast import AZIMUTH, ZENITH
from cilp.simulation.scenes import SimulateParams, render

MOST_SCENES = 9_999
MOST_UNLABELLED = 100_000
"""The largest ``data.unlabelled``: of scenes that never touch the disk."""


def simulate(root: Path, scenes: int, params: SimulateParams, processes: int | None = None) -> list[Pair]:
    """Write cube i and sphere i for every scene i below ``scenes``, and both calibrations, in the raw layout.

    The bytes of scene i depend on ``params`` and i alone, not on how many scenes or processes there are.

    Args:
        root: folder of the raw layout; made if missing. Files of the same names are overwritten, others left alone.
        processes: how many share the work, as in ``shared_out``.

    Returns:
        The pairs written, in the order of the manifest, which the caller writes.

    Raises:
        UserError: ``scenes`` is out of range, or the params leave an object no place in view.
    """
    if not 1 <= scenes <= MOST_SCENES:
        raise UserError(f"data.scenes must be between 1 and {MOST_SCENES}; got {scenes}.")
    root = Path(root)
    for label in CLASSES:
        write_calibration(root, label, AZIMUTH, ZENITH)
        for path in (rgb_path(root, Pair(0, label)), lidar_path(root, Pair(0, label))):
            path.parent.mkdir(parents=True, exist_ok=True)

    with shared_out(partial(_write, root, params), range(scenes), processes) as written:
        for _ in track(chain.from_iterable(written), "simulate", total=scenes, unit="scene"):
            pass
    return [Pair(index, label) for index in range(scenes) for label in CLASSES]


def _write(root: Path, params: SimulateParams, indices: Sequence[int]) -> Sequence[int]:
    """Write some scenes, one after the other: no result depends on which scenes share a chunk."""
    for index in indices:
        for label, picture, ranges in render(params, index):
            pair = Pair(index, label)
            Image.fromarray(picture).save(rgb_path(root, pair))
            np.save(lidar_path(root, pair), ranges)
    return indices
