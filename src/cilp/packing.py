"""Packs the exported subset: decodes every PNG and range image once, into one file of tensors."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cilp.console.progress import track
from cilp.errors import UserError
from cilp.packed import SPLITS, Packed
from cilp.raw.layout import CLASSES
from cilp.subset.export import Export


def pack(export: Export) -> Packed:
    """Decode an export, in its order. RGBA bytes and float32 ranges arrive unchanged.

    Raises:
        UserError: a file is no 64x64 RGBA PNG or no 64x64 float32 array.
    """
    records = export.records
    rgb = np.empty((len(records), 64, 64, 4), dtype=np.uint8)
    ranges = np.empty((len(records), 64, 64), dtype=np.float32)
    for row, record in enumerate(track(records, "pack", unit="pairs")):
        rgb[row] = _read_rgb(record.rgb_path)
        ranges[row] = _read_range(record.lidar_path)
    calibrations, sensor = _distinct_calibrations(export)
    return Packed(
        rgb=torch.from_numpy(rgb),
        range=torch.from_numpy(ranges),
        label=torch.tensor([CLASSES.index(record.label) for record in records], dtype=torch.uint8),
        scene=torch.tensor([record.scene for record in records], dtype=torch.int32),
        split=torch.tensor([SPLITS.index(record.split) for record in records], dtype=torch.uint8),
        sensor=torch.tensor([sensor[record.label] for record in records], dtype=torch.uint8),
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


def _distinct_calibrations(export: Export) -> tuple[list[tuple[np.ndarray, np.ndarray]], dict[str, int]]:
    """The different calibrations, and which of them each class has; one, where both classes saw the same sensor."""
    distinct: list[tuple[np.ndarray, np.ndarray]] = []
    sensor = {}
    for label in CLASSES:
        ours = export.calibration[label]
        same = [i for i, other in enumerate(distinct) if all(map(np.array_equal, ours, other))]
        if not same:
            distinct.append(ours)
        sensor[label] = same[0] if same else len(distinct) - 1
    return distinct, sensor
