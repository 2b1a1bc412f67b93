"""Reads a grouped dataset that was exported as a ``FiftyOneDataset``, without FiftyOne and its database."""

import json
import math
import os
import re
import reprlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cilp.errors import UserError
from cilp.raw.layout import CLASSES, SPLITS
from cilp.sensors import LIDAR_SIZE

MADE_BY = "the export of a grouped FiftyOne dataset"
MAX_JSON_BYTES = 64 * 2**20
"""Longest document that is parsed: two slices of 70,000 objects, or three of 43,000."""
MAX_JSON_VALUES = 6_000_000
"""Most values in it, 40 a slice and object; small ones take 120 bytes in memory where they take 8 in the document."""
MOST_SCENE = 999_999_999
LARGEST_ANGLE = float(np.float32(math.pi))
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 200


@dataclass(frozen=True)
class Record:
    """One object: its scene, class and split, and where its image and range image lie."""

    scene: int
    label: str
    split: str
    rgb_path: Path
    lidar_path: Path


@dataclass(frozen=True)
class Export:
    """Objects ordered by split (train, val, test), scene and class, and (azimuth, zenith) of each class.

    The angles are (64,) float32 radians each.
    """

    records: list[Record]
    calibration: dict[str, tuple[np.ndarray, np.ndarray]]


def read_export(target: Path, need_splits: bool = True) -> Export:
    """Read ``samples.json`` and ``metadata.json`` of an export.

    Groups need the slices ``rgb`` and ``lidar``; others are passed over. Label, split tag and ``scene`` are read off
    the rgb sample. Where the field ``scene`` is missing, the scene is the number that the image's name starts with
    (``0053-2.png``), or where those are missing too or not unique within a class, the group's position in its class.
    Without ``need_splits``, objects may lack the split tag; their split is then "".

    Raises:
        UserError: a file or key is missing, or a value is not a legal one; the message names the file.
    """
    target = Path(target)
    metadata, samples = _load(target / "metadata.json"), _load(target / "samples.json")
    calibration = _calibration(metadata, target / "metadata.json")
    objects = [_Object.parse(group, target, need_splits) for group in _groups(samples, target / "samples.json")]
    files = Counter(path for found in objects for path in (found.rgb_path, found.lidar_path))
    path, times = files.most_common(1)[0]
    if times > 1:
        raise UserError(f"{target / 'samples.json'} names {path} {times} times; give every sample a file of its own.")
    scenes = _scenes(objects, target / "samples.json")
    records = [
        Record(scene, found.label, found.split, found.rgb_path, found.lidar_path)
        for scene, found in zip(scenes, objects, strict=True)
    ]
    order = {split: number for number, split in enumerate([*SPLITS, ""])}
    records.sort(key=lambda record: (order[record.split], record.scene, CLASSES.index(record.label)))
    return Export(records, calibration)


@dataclass(frozen=True)
class _Object:
    """A group as it stands in ``samples.json``."""

    scene: int | None
    label: str
    split: str
    rgb_path: Path
    lidar_path: Path

    @classmethod
    def parse(cls, group: dict[str, dict[str, Any]], target: Path, need_split: bool) -> "_Object":
        source = target / "samples.json"
        rgb = group["rgb"]
        name = _short(rgb.get("filepath"))
        paths = {slice_: _media(group[slice_].get("filepath"), target) for slice_ in ("rgb", "lidar")}
        label = rgb["label"].get("label") if isinstance(rgb.get("label"), dict) else None
        if label not in CLASSES:
            raise UserError(f"{source}: {name} has the label {_short(label)}; label it one of {', '.join(CLASSES)}.")
        tags = rgb.get("tags") or []
        splits = [tag for tag in tags if tag in SPLITS] if isinstance(tags, list) else None
        if splits is None or len(splits) > 1 or (need_split and not splits):
            shown = _short(tags) if splits is None else splits
            raise UserError(
                f"{source}: {name} has the split tags {shown}; tag it with exactly one of {', '.join(SPLITS)}."
            )
        scene = rgb.get("scene")
        if not (scene is None or (type(scene) is int and 0 <= scene <= MOST_SCENE)):
            raise UserError(
                f"{source}: {name} has the scene {_short(scene)}; a scene is a whole number from 0 to {MOST_SCENE:,}."
            )
        return cls(scene, label, "".join(splits), paths["rgb"], paths["lidar"])


def _short(value: Any) -> str:
    """A value as it is shown in a message, however long or deep it is."""
    return _SHOWN.repr(value)


def _load(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_JSON_BYTES + 1)
        if len(content) > MAX_JSON_BYTES:
            raise ValueError(f"it is longer than {MAX_JSON_BYTES // 2**20} MiB")
        if sum(map(content.count, (b",", b"[", b"{"))) > MAX_JSON_VALUES:
            raise ValueError(f"it holds more than {MAX_JSON_VALUES:,} values")
        document = json.loads(content.decode("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; {path.parent} must be {MADE_BY}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no valid JSON ({error}); export the dataset again.") from None
    if not isinstance(document, dict):
        raise UserError(f"{path} holds no JSON object; {path.parent} must be {MADE_BY}.")
    return document


def _calibration(metadata: dict[str, Any], source: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    info = metadata.get("info")
    if not isinstance(info, dict):
        info = {}
    calibration = {}
    for label in CLASSES:
        angles = []
        for name in (f"azimuth_{label}s", f"zenith_{label}s"):
            found = info.get(name)
            numbers = found if isinstance(found, list) and all(type(item) in (int, float) for item in found) else []
            if len(numbers) != LIDAR_SIZE or not all(abs(item) <= LARGEST_ANGLE for item in numbers):  # nor is NaN
                raise UserError(
                    f"{source} lacks the sensor's calibration: set dataset.info[{name!r}] to {LIDAR_SIZE} angles in "
                    "radians and export again."
                )
            angles.append(np.array(numbers, dtype=np.float32))
        calibration[label] = (angles[0], angles[1])
    return calibration


def _groups(document: dict[str, Any], source: Path) -> list[dict[str, dict[str, Any]]]:
    """The samples of each group by slice, groups in the order in which they first appear."""
    samples = document.get("samples")
    if not isinstance(samples, list) or not samples:
        raise UserError(f"{source} lists no samples; {source.parent} must be {MADE_BY}.")
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for sample in samples:
        try:
            group, slice_ = sample["group"]["_id"]["$oid"], sample["group"]["name"]
            if not (isinstance(group, str) and isinstance(slice_, str)):
                raise TypeError
        except (KeyError, TypeError):
            raise UserError(
                f"{source} has a sample without group and slice; export a dataset whose group field is called group."
            ) from None
        if slice_ in groups.setdefault(group, {}):
            shown = f"group {_short(group)} has the slice {_short(slice_)} twice"
            raise UserError(f"{source}: {shown}; remove one of the samples.")
        groups[group][slice_] = sample
    for group, slices in groups.items():
        missing = {"rgb", "lidar"} - slices.keys()
        if missing:
            shown = f"group {_short(group)} lacks the slice {min(missing)}"
            raise UserError(f"{source}: {shown}; complete or remove the group.")
    return list(groups.values())


def _media(filepath: Any, target: Path) -> Path:
    """The file that a sample names inside the export; it may be a link into a cache that lies elsewhere."""
    path = Path(os.path.normpath(target / filepath)) if filepath and isinstance(filepath, str) else Path()
    if not path.name or not path.is_relative_to(os.path.normpath(target)):
        raise UserError(
            f"{target / 'samples.json'} names the file {_short(filepath)}, which lies outside of {target}; export the "
            "dataset with its media."
        )
    if not _is_file(path):
        shown, source = str(path)[:500], target / "samples.json"
        raise UserError(f"{shown} is missing, though {source} names it; export or pull the data again.")
    return path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _scenes(objects: list[_Object], source: Path) -> list[int]:
    """The scene of every object, unique within its class."""
    explicit = [found.scene for found in objects]
    if None not in explicit:
        keys = list(zip((found.label for found in objects), explicit, strict=True))
        if len(set(keys)) < len(keys):
            (label, scene), _ = Counter(keys).most_common(1)[0]
            raise UserError(f"{source} has the {label} of scene {scene} twice; remove one of the groups.")
        return explicit
    stems = [re.match(r"[0-9]{1,9}(?![0-9])", found.rgb_path.stem) for found in objects]
    if all(stems):
        numbers = [int(match.group()) for match in stems if match]
        if len({(found.label, number) for found, number in zip(objects, numbers, strict=True)}) == len(objects):
            return numbers
    seen = dict.fromkeys(CLASSES, -1)
    scenes = []
    for found in objects:
        seen[found.label] += 1
        scenes.append(seen[found.label])
    return scenes
