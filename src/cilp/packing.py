"""Packs pairs: decodes every PNG and range image once, into tensors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cilp.console.progress import track
from cilp.errors import UserError
from cilp.packed import SPLITS, Packed
from cilp.raw import layout
from cilp.raw.layout import CLASSES, Pair
from cilp.subset.export import Export

UNLABELLED = 255
"""Stands in place of the label of pairs that are packed without."""
Calibration = dict[str, tuple[np.ndarray, np.ndarray]]


def pack(export: Export) -> Packed:
    """Decode an export, in its order. RGBA bytes and float32 ranges arrive unchanged.

    Raises:
        UserError: a file is no 64x64 RGBA PNG or no 64x64 float32 array.
    """
    records = export.records
    return _packed(
        [(record.rgb_path, record.lidar_path) for record in records],
        kinds=[record.label for record in records],
        labels=[CLASSES.index(record.label) for record in records],
        scenes=[record.scene for record in records],
        splits=[SPLITS.index(record.split) for record in records],
        calibration=export.calibration,
    )


def pack_unlabelled(root: Path, pairs: Sequence[Pair]) -> Packed:
    """Decode pairs of a tree in the raw layout, ordered by scene, as training samples without a label.

    Raises:
        UserError: a file is no 64x64 RGBA PNG or no 64x64 float32 array.
    """
    pairs = sorted(pairs, key=lambda pair: (pair.index, CLASSES.index(pair.label)))
    return _packed(
        [(layout.rgb_path(root, pair), layout.lidar_path(root, pair)) for pair in pairs],
        kinds=[pair.label for pair in pairs],
        labels=[UNLABELLED] * len(pairs),
        scenes=[pair.index for pair in pairs],
        splits=[SPLITS.index("train")] * len(pairs),
        calibration={label: layout.read_calibration(root, label) for label in CLASSES},
    )


def _packed(
    files: Sequence[tuple[Path, Path]],
    kinds: Sequence[str],
    labels: Sequence[int],
    scenes: Sequence[int],
    splits: Sequence[int],
    calibration: Calibration,
) -> Packed:
    rgb = np.empty((len(files), 64, 64, 4), dtype=np.uint8)
    ranges = np.empty((len(files), 64, 64), dtype=np.float32)
    for row, (rgb_file, range_file) in enumerate(track(files, "pack", unit="pairs")):
        rgb[row] = _read_rgb(rgb_file)
        ranges[row] = _read_range(range_file)
    calibrations, sensor = _distinct_calibrations(calibration)
    return Packed(
        rgb=torch.from_numpy(rgb),
        range=torch.from_numpy(ranges),
        label=torch.tensor(labels, dtype=torch.uint8),
        scene=torch.tensor(scenes, dtype=torch.int32),
        split=torch.tensor(splits, dtype=torch.uint8),
        sensor=torch.tensor([sensor[kind] for kind in kinds], dtype=torch.uint8),
        azimuth=torch.from_numpy(np.stack([azimuth for azimuth, _ in calibrations])),
        zenith=torch.from_numpy(np.stack([zenith for _, zenith in calibrations])),
    )


def _read_rgb(path: Path) -> np.ndarray:
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            if picture.mode != "RGBA" or picture.size != (64, 64):
                raise ValueError(f"it is {picture.mode} of {picture.width}x{picture.height}")
            return np.asarray(picture)
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path} is no 64x64 RGBA PNG ({error}); export the subset again.") from None


def _read_range(path: Path) -> np.ndarray:
    try:
        ranges = np.load(path, allow_pickle=False)
        if ranges.dtype != np.float32 or ranges.shape != (64, 64):
            raise ValueError(f"it is {ranges.dtype} of shape {ranges.shape}")
        return ranges
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} is no 64x64 float32 array ({error}); export the subset again.") from None


def _distinct_calibrations(
    calibration: Calibration,
) -> tuple[list[tuple[np.ndarray, np.ndarray]], dict[str, int]]:
    """The different calibrations, and which of them each class has; one, where both classes saw the same sensor."""
    distinct: list[tuple[np.ndarray, np.ndarray]] = []
    sensor = {}
    for label in CLASSES:
        ours = calibration[label]
        same = [i for i, other in enumerate(distinct) if all(map(np.array_equal, ours, other))]
        if not same:
            distinct.append(ours)
        sensor[label] = same[0] if same else len(distinct) - 1
    return distinct, sensor
