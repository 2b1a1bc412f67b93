"""The grouped FiftyOne dataset, one group per object, exported as a ``FiftyOneDataset``; nothing else needs FiftyOne.

::

    <target>/metadata.json, samples.json    what FiftyOne loads with ``fo.Dataset.from_dir``
    <target>/data/rgb/cube-0001.png         slice "rgb", the default
    <target>/data/lidar/cube-0001.npy       slice "lidar": the range image
    <target>/data/pcd/cube-0001.pcd         slice "pcd": its returns as a point cloud, for the App

Every sample carries ``label`` (cube or sphere), ``scene`` (the index that a cube shares with its sphere) and its split
as a tag. The tag stands on all three slices, so that ``match_tags("test")`` holds whichever slice is looked at.

FiftyOne writes random ids, the time of day, and fields in an order that changes from process to process. All three are
replaced, so that equal data are exported as equal bytes.
"""

import hashlib
import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from cilp.console.progress import track
from cilp.errors import UserError
from cilp.raw.decode import decode_file, decode_range, read_calibration
from cilp.raw.layout import CLASSES, Pair, lidar_path, rgb_path
from cilp.sensors import point_cloud, ray_directions
from cilp.subset.database import connect

SLICES = {"rgb": ".png", "lidar": ".npy", "pcd": ".pcd"}
"""Group slices, in order, with the suffix of their media."""
DATASET_NAME = "multimodal-shapes"
EPOCH = {"$date": "1970-01-01T00:00:00Z"}


def export_grouped(raw: Path, pairs: Sequence[Pair], target: Path) -> None:
    """Write ``pairs``, each with its split, from the raw layout at ``raw`` to ``target``.

    ``target`` is replaced as a whole at the end, and left alone when the export fails. FiftyOne works on a
    throwaway database, so the datasets that the user keeps are not touched.

    Raises:
        UserError: a file of ``raw`` is missing or unreadable, or FiftyOne has no database to work with.
    """
    building = target.with_name(target.name + ".tmp")
    shutil.rmtree(building, ignore_errors=True)
    for name in SLICES:  # a folder each: the Hugging Face Hub takes 10,000 files in one
        (building / "data" / name).mkdir(parents=True)
    try:
        _export(connect(), raw, pairs, building.resolve())
        _make_deterministic(building)
        shutil.rmtree(target, ignore_errors=True)
        building.rename(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _export(fo: ModuleType, raw: Path, pairs: Sequence[Pair], folder: Path) -> None:
    calibration = {label: read_calibration(raw, label) for label in CLASSES}
    directions = {label: ray_directions(*angles) for label, angles in calibration.items()}

    def samples() -> Iterator[Any]:
        for pair in track(pairs, "subset", unit="objects"):
            media = _copy_media(raw, pair, directions[pair.label], folder / "data")
            group = fo.Group()
            for name, path in media.items():
                label = fo.Classification(label=pair.label)
                element = group.element(name)
                yield fo.Sample(filepath=str(path), group=element, label=label, scene=pair.index, tags=[pair.split])

    dataset = fo.Dataset()
    try:
        dataset.add_group_field("group", default="rgb")
        made = samples()
        dataset.add_samples(itertools.islice(made, len(SLICES)), progress=False)  # shows FiftyOne fields and slices
        dataset.add_samples(made, expand_schema=False, validate=False, progress=False)
        dataset.info = {
            f"{name}_{label}s": angles.tolist()
            for label, pair in calibration.items()
            for name, angles in zip(("azimuth", "zenith"), pair, strict=True)
        }
        dataset.save()
        dataset.export(
            export_dir=str(folder),
            dataset_type=fo.types.FiftyOneDataset,
            export_media=False,  # it lies in its place already
            rel_dir=str(folder),
            progress=False,
        )
    finally:
        dataset.delete()


def _copy_media(raw: Path, pair: Pair, directions: np.ndarray, folder: Path) -> dict[str, Path]:
    """Put the media of one object into ``folder``; returns the path of each slice."""
    paths = {name: folder / name / f"{pair.label}-{pair.index:04d}{suffix}" for name, suffix in SLICES.items()}
    _copy(rgb_path(raw, pair), paths["rgb"])
    _copy(lidar_path(raw, pair), paths["lidar"])
    range_image = decode_file(lidar_path(raw, pair), decode_range, "acquire the raw data again")
    write_pcd(paths["pcd"], point_cloud(range_image, directions))
    return paths


def write_pcd(path: Path, points: np.ndarray) -> None:
    """Write points (n, 3) in metres as a binary .pcd of float32, which FiftyOne's 3D viewer opens."""
    header = (
        "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\n"
        f"WIDTH {len(points)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(points)}\nDATA binary\n"
    )
    path.write_bytes(header.encode("ascii") + points.astype("<f4").tobytes())


def _copy(path: Path, target: Path) -> None:
    try:
        shutil.copyfile(path, target)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}); acquire the raw data again.") from error


def _make_deterministic(folder: Path) -> None:
    """Order the samples of an export by scene, class and slice, derive all ids from these, and fix order and times."""
    path = folder / "samples.json"
    samples = json.loads(path.read_text(encoding="utf-8"))["samples"]
    order = {key: i for i, key in enumerate((label, name) for label in CLASSES for name in SLICES)}
    samples.sort(key=lambda sample: (sample["scene"], order[sample["label"]["label"], sample["group"]["name"]]))
    for sample in samples:
        group = f"{sample['label']['label']}-{sample['scene']}"
        sample["group"]["_id"] = _object_id(group)
        sample["_id"] = _object_id(f"{group}/{sample['group']['name']}")
        sample["label"]["_id"] = _object_id(f"{group}/{sample['group']['name']}/label")
        sample["_dataset_id"] = _object_id(DATASET_NAME)
        sample["_rand"] = int(sample["_id"]["$oid"], 16) / 16**24
    _write_json(path, {"samples": samples})

    path = folder / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    metadata |= {"_id": _object_id(DATASET_NAME), "name": DATASET_NAME, "slug": DATASET_NAME}
    metadata["sample_fields"].sort(key=lambda field: field["name"])
    metadata["sample_collection_name"] = f"samples.{_object_id(DATASET_NAME)['$oid']}"
    _write_json(path, metadata)


def _write_json(path: Path, document: dict[str, Any]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(_fix_times(document), file, sort_keys=True, separators=(",", ":"))


def _fix_times(value: Any) -> Any:
    """``value`` with every time, wherever it stands, replaced by ``EPOCH``."""
    if isinstance(value, dict):
        return EPOCH if "$date" in value else {key: _fix_times(item) for key, item in value.items()}
    return [_fix_times(item) for item in value] if isinstance(value, list) else value


def _object_id(name: str) -> dict[str, str]:
    return {"$oid": hashlib.sha256(name.encode()).hexdigest()[:24]}
