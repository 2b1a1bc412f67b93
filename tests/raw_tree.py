"""A small tree in the raw layout, and what became of it."""

import zipfile
from pathlib import Path

from fuzz.mutations import npy, png, ranges

from cilp.raw.layout import CLASSES, Pair, lidar_path, rgb_path, write_calibration
from cilp.sensors import lidar_angles

SCENES = 4
PAIRS = [Pair(index, label) for index in range(SCENES) for label in CLASSES]


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_tree(root: Path) -> Path:
    for seed, pair in enumerate(PAIRS):
        write(rgb_path(root, pair), png(seed))
        write(lidar_path(root, pair), npy(ranges(seed)))
    for label in CLASSES:
        write_calibration(root, label, lidar_angles(), lidar_angles())
    return root


def contents(root: Path) -> dict[str, bytes]:
    """Path and bytes of every file but the report."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name != "skipped.csv")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def zipped(tree: Path) -> Path:
    path = tree.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for member in sorted(tree.rglob("*")):
            file.write(member, member.relative_to(tree))
    return path
