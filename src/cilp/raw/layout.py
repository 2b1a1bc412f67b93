"""The raw layout: the tree that every data source delivers and that ``subset`` reads.

::

    <root>/cubes/rgb/0000.png     64x64 RGBA uint8
    <root>/cubes/lidar/0000.npy   64x64 float32 range in metres, rows = azimuth, columns = zenith
    <root>/cubes/azimuth.npy      (64,) float32 radians; likewise zenith.npy
    <root>/spheres/...            the same; cube i and sphere i are one scene
    <root>/manifest.csv           class,index,split: one row per usable pair, split empty unless the source gives one
"""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cilp.errors import UserError

CLASSES = ("cube", "sphere")
"""Class names in the order of their labels: cube 0, sphere 1."""
MANIFEST = "manifest.csv"
MANIFEST_COLUMNS = ("class", "index", "split")
SPLITS = ("train", "val", "test")
MAX_MANIFEST_BYTES = 32 * 2**20
"""Longest manifest that is read: two million pairs."""
INDEX = re.compile(r"[0-9]{1,9}")
"""A scene as names and manifests give it; it fits the packed file's int32."""
INDICES = 10**9
"""As many scenes have one."""


@dataclass(frozen=True, order=True)
class Pair:
    """Image and range image of one object. ``index`` is the scene, ``split`` is empty unless the source gives one."""

    index: int
    label: str
    split: str = ""


def class_folder(root: Path, label: str) -> Path:
    """``<root>/cubes`` or ``<root>/spheres``."""
    return Path(root) / f"{label}s"


def rgb_path(root: Path, pair: Pair) -> Path:
    """The PNG of a pair."""
    return class_folder(root, pair.label) / "rgb" / f"{pair.index:04d}.png"


def lidar_path(root: Path, pair: Pair) -> Path:
    """The range image of a pair."""
    return class_folder(root, pair.label) / "lidar" / f"{pair.index:04d}.npy"


def write_calibration(root: Path, label: str, azimuth: np.ndarray, zenith: np.ndarray) -> None:
    """Write ``azimuth.npy`` and ``zenith.npy`` (64 float32 radians each) of one class."""
    folder = class_folder(root, label)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "azimuth.npy", np.asarray(azimuth, dtype=np.float32))
    np.save(folder / "zenith.npy", np.asarray(zenith, dtype=np.float32))


def write_manifest(root: Path, pairs: Iterable[Pair]) -> None:
    """Write ``manifest.csv``, ordered by index and class."""
    with open(Path(root) / MANIFEST, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(MANIFEST_COLUMNS)
        writer.writerows((pair.label, pair.index, pair.split) for pair in sorted(pairs))


def read_manifest(path: Path) -> list[Pair]:
    """Pairs that a ``manifest.csv`` lists.

    Raises:
        UserError: the file or a column is missing, or a value is not a legal one (file and line are named).
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is missing; run `dvc repro acquire` to write it.")
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ValueError(f"it is longer than {MAX_MANIFEST_BYTES // 2**20} MiB")
        with open(path, newline="", encoding="utf-8-sig") as file:  # spreadsheets begin a file with a byte-order mark
            pairs = list(_parse_manifest(csv.reader(file, strict=True), path))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}); mend it, or write it anew.") from None
    duplicates = len(pairs) - len({(pair.index, pair.label) for pair in pairs})
    if duplicates:
        raise UserError(f"{path} lists {duplicates} pairs twice; each class and index may stand in one row only.")
    return pairs


def _parse_manifest(lines: Any, path: Path) -> Iterator[Pair]:
    """The pairs of a ``csv.reader``; ``path`` is named in errors."""
    header = next(lines, [])
    if any(header.count(name) != 1 for name in MANIFEST_COLUMNS):
        shown = str(header)[:200]
        raise UserError(f"{path} needs the columns {', '.join(MANIFEST_COLUMNS)}, once each; it has {shown}.")
    columns = [header.index(name) for name in MANIFEST_COLUMNS]
    for row in lines:
        if not row:
            continue
        if len(row) != len(header):
            raise UserError(
                f"{path} line {lines.line_num} has {len(row)} fields under {len(header)} columns; mend the line."
            )
        label, index, split = (row[column] for column in columns)
        if label not in CLASSES or not INDEX.fullmatch(index) or split not in ("", *SPLITS):
            raise UserError(
                f"{path} line {lines.line_num}: class must be one of {', '.join(CLASSES)}, index a whole number "
                f"and split empty or one of {', '.join(SPLITS)}; got {label[:50]!r}, {index[:50]!r}, {split[:50]!r}."
            )
        yield Pair(int(index), label, split)
