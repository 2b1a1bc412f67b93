"""Judges of the reader of FiftyOne exports, from a folder or the Hub."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from cilp.raw import hub
from cilp.raw.decode import decode_range, decode_rgb
from cilp.raw.exported import read_export
from cilp.raw.layout import CLASSES, SPLITS, lidar_path, rgb_path
from cilp.sensors import lidar_angles
from fuzz.judging import Place, Refused, check_angles, check_range
from fuzz.mutations import Rng, mutate, npy, png, ranges
from fuzz.trees import mutate_file

EXPORTED = [("cube", 0, "train"), ("sphere", 0, "train"), ("cube", 1, "val"), ("sphere", 1, "test")]


def export_documents() -> tuple[dict[str, Any], dict[str, Any], dict[str, bytes]]:
    """``samples.json``, ``metadata.json`` and the media of a grouped export."""
    samples, media = [], {}
    for number, (label, scene, split) in enumerate(EXPORTED):
        for name, data in (("rgb.png", png(number)), ("lidar.npy", npy(ranges(number)))):
            slice_, suffix = name.split(".")
            file = f"data/{slice_}/{label}-{scene:04d}.{suffix}"
            media[file] = data
            group = {"_id": {"$oid": f"{number:024x}"}, "_cls": "Group", "name": slice_}
            label_ = {"_cls": "Classification", "label": label}
            samples.append({"filepath": file, "tags": [split], "label": label_, "scene": scene, "group": group})
    info = {f"{name}_{label}s": lidar_angles().tolist() for label in CLASSES for name in ("azimuth", "zenith")}
    return {"samples": samples}, {"info": info}, media


def write_export(root: Path) -> Path:
    """A grouped export as it should be, written to ``root``."""
    samples, metadata, media = export_documents()
    media |= {"samples.json": json.dumps(samples).encode(), "metadata.json": json.dumps(metadata).encode()}
    for name, data in media.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


JSON_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 10**30, 1.5, 1e308, math.nan, math.inf, "", "cube", "sphere", "train", "rgb",
    "lidar", "../secret.png", "/etc/passwd", "data", "data/rgb/cube-0000.png", "data/lidar/cube-0001.npy", "\0",
    "\ud800", "x" * 5000, "data/" + "x" * 300, [], {}, [1], ["train"], ["train", "val"], {"train": 1}, {"$oid": []},
    {"label": "cube"}, [[0.0] * 64], [0.0] * 64, [10**400] * 64, ["0"] * 64, [True] * 64, [180.0] * 64,
    [math.nan] * 64, deep(200),
]  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container and key of a JSON document."""
    found = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        found += [(value, key), *places(item)]
    return found


def mutate_json(document: Any, rng: Rng) -> bytes:
    """Values of a JSON document replaced, swapped, removed or doubled."""
    for _ in range(int(rng.integers(1, 4))):
        spots = [spot for spot in places(document) if not isinstance(spot[0][spot[1]], float) or rng.random() < 0.02]
        if not spots:
            break
        (holder, key), (other, again) = (spots[int(rng.integers(len(spots)))] for _ in range(2))
        match rng.integers(5):
            case 0 | 1:
                holder[key] = copy.deepcopy(JSON_VALUES[int(rng.integers(len(JSON_VALUES)))])
            case 2:
                holder[key], other[again] = copy.deepcopy(other[again]), copy.deepcopy(holder[key])
            case 3:
                del holder[key]
            case 4 if isinstance(holder, list):
                holder.insert(int(rng.integers(len(holder) + 1)), copy.deepcopy(holder[key]))
    return json.dumps(document).encode()


def write_mutated_export(rng: Rng, root: Path, damage_media: bool) -> None:
    samples, metadata, media = export_documents()
    documents = {"samples.json": samples, "metadata.json": metadata}
    hit = "metadata.json" if rng.random() < 0.25 else "samples.json"
    for name, document in documents.items():
        data = json.dumps(document).encode()
        if name == hit and not (damage_media and rng.random() < 0.5):
            if rng.random() < 0.02:
                data = b"[" * 100_000 if rng.random() < 0.5 else b'{"samples":' * 50_000
            else:
                data = mutate_json(document, rng) if rng.random() < 0.6 else mutate(data, rng)
        root.mkdir(exist_ok=True)
        (root / name).write_bytes(data)
    for name, data in media.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(mutate_file(name, rng) if damage_media and rng.random() < 0.2 else data)


def judge_export(rng: Rng, place: Place) -> bool:
    root = place.inputs / "export"
    write_mutated_export(rng, root, damage_media=False)
    need_splits = bool(rng.random() < 0.5)
    found = read_export(root, need_splits)
    records = found.records
    assert records and len({(record.scene, record.label) for record in records}) == len(records)
    files = [path for record in records for path in (record.rgb_path, record.lidar_path)]
    assert len(set(files)) == len(files)
    for record in records:
        assert record.label in CLASSES and type(record.scene) is int and 0 <= record.scene < 10**9
        assert record.split in SPLITS or (record.split == "" and not need_splits)
        for path in (record.rgb_path, record.lidar_path):
            assert path.is_file() and path.resolve().is_relative_to(root.resolve())
    assert found.calibration.keys() == set(CLASSES)
    for angles in found.calibration.values():
        for values in angles:
            check_angles(values)
    same = sorted((record.label, record.scene, record.split) for record in records) == sorted(EXPORTED)
    return same and all(np.array_equal(v, lidar_angles()) for pair in found.calibration.values() for v in pair)


def judge_hub(rng: Rng, place: Place) -> bool:
    root = place.inputs / "export"
    write_mutated_export(rng, root, damage_media=True)
    place.target.mkdir()
    pairs, report = hub.import_export(root, place.target, hub.HubParams("owner/name", "main"), "0" * 40)
    for pair in pairs:
        decode_rgb(rgb_path(place.target, pair).read_bytes())
        check_range(decode_range(lidar_path(place.target, pair).read_bytes()))
    media = [path for path in place.target.rglob("*") if path.parent.name in ("rgb", "lidar") and path.is_file()]
    assert len(media) == 2 * len(pairs)
    assert all(reason for _, reason in report.rows)
    if report.rows:
        assert len(report.rows) % 2 == 0
        raise Refused
    return len(pairs) == len(EXPORTED)
