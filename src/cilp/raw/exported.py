"""Reads a grouped dataset that was exported as a ``FiftyOneDataset``, without FiftyOne and its database."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cilp.errors import UserError
from cilp.raw.layout import CLASSES, SPLITS
from cilp.sensors import LIDAR_SIZE

MADE_BY = "the export of a grouped FiftyOne dataset"


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
        name = rgb.get("filepath")
        paths = {slice_: _media(group[slice_].get("filepath"), target) for slice_ in ("rgb", "lidar")}
        label = rgb["label"].get("label") if isinstance(rgb.get("label"), dict) else None
        if label not in CLASSES:
            raise UserError(f"{source}: {name} has the label {label!r}; label it one of {', '.join(CLASSES)}.")
        splits = [tag for tag in rgb.get("tags") or [] if tag in SPLITS]
        if len(splits) > 1 or (need_split and not splits):
            raise UserError(
                f"{source}: {name} has the split tags {splits}; tag it with exactly one of {', '.join(SPLITS)}."
            )
        scene = rgb.get("scene")
        if not (scene is None or (isinstance(scene, int) and scene >= 0)):
            raise UserError(f"{source}: {name} has the scene {scene!r}; a scene is a whole number from 0.")
        return cls(scene, label, "".join(splits), paths["rgb"], paths["lidar"])


def _load(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; {path.parent} must be {MADE_BY}.") from None
    except ValueError as error:
        raise UserError(f"{path} is no valid JSON ({error}); export the dataset again.") from None
    if not isinstance(document, dict):
        raise UserError(f"{path} holds no JSON object; {path.parent} must be {MADE_BY}.")
    return document


def _calibration(metadata: dict[str, Any], source: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    info = metadata.get("info") or {}
    calibration = {}
    for label in CLASSES:
        angles = []
        for name in (f"azimuth_{label}s", f"zenith_{label}s"):
            try:
                values = np.array(info.get(name), dtype=np.float32)
            except (TypeError, ValueError):
                values = np.empty(0)
            if values.shape != (LIDAR_SIZE,) or not np.isfinite(values).all():
                raise UserError(
                    f"{source} lacks the sensor's calibration: set dataset.info[{name!r}] to {LIDAR_SIZE} angles in "
                    "radians and export again."
                )
            angles.append(values)
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
        except (KeyError, TypeError):
            raise UserError(
                f"{source} has a sample without group and slice; export a dataset whose group field is called group."
            ) from None
        groups.setdefault(group, {})[slice_] = sample
    for group, slices in groups.items():
        missing = {"rgb", "lidar"} - slices.keys()
        if missing:
            raise UserError(f"{source}: group {group} lacks the slice {missing.pop()}; complete or remove the group.")
    return list(groups.values())


def _media(filepath: Any, target: Path) -> Path:
    """The file that a sample names inside the export; it may be a link into a cache that lies elsewhere."""
    path = Path(os.path.normpath(target / str(filepath)))
    if not filepath or not path.is_relative_to(os.path.normpath(target)):
        raise UserError(
            f"{target / 'samples.json'} names the file {filepath!r}, which lies outside of {target}; export the "
            "dataset with its media."
        )
    if not path.is_file():
        raise UserError(f"{path} is missing, though {target / 'samples.json'} names it; export or pull the data again.")
    return path


def _scenes(objects: list[_Object], source: Path) -> list[int]:
    """The scene of every object, unique within its class."""
    explicit = [found.scene for found in objects]
    if None not in explicit:
        keys = list(zip((found.label for found in objects), explicit, strict=True))
        if len(set(keys)) < len(keys):
            label, scene = next(key for key in keys if keys.count(key) > 1)
            raise UserError(f"{source} has the {label} of scene {scene} twice; remove one of the groups.")
        return explicit
    stems = [re.match(r"\d+", found.rgb_path.stem) for found in objects]
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
