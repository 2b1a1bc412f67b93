"""Mutated inputs for every reader of outside data, each under a limit of time and memory.

    PYTHONPATH=src:tests python tests/fuzz.py --inputs 10000

Input number i of a reader is a function of (reader, i) alone; ``--reader zip --first 123 --inputs 1`` repeats one. What
a reader accepts must be what it says it returns; what it refuses must be refused with its own sentence, or be listed
with a reason. Anything else ends the run with status 1, and so do an input that takes too long, one that takes more
than 1 GiB, and a file that is opened for writing outside of the target folder.
"""

import argparse
import contextlib
import copy
import csv
import faulthandler
import io
import json
import math
import os
import resource
import shutil
import signal
import struct
import sys
import tempfile
import traceback
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from PIL import Image
from synthetic import make_packed

from cilp import packed
from cilp.errors import UserError
from cilp.models import projector
from cilp.raw import hub
from cilp.raw.decode import Unusable, decode_angles, decode_range, decode_rgb
from cilp.raw.exported import read_export
from cilp.raw.folder import import_tree
from cilp.raw.layout import CLASSES, SPLITS, Pair, class_folder, lidar_path, read_manifest, rgb_path
from cilp.sensors import MAX_RANGE, lidar_angles
from cilp.training.checkpoint import FORMAT, load_checkpoint

SECONDS = 20
"""Longest that one input may take, on a machine that does other work beside."""
MOST_BYTES = 2**30
Rng = np.random.Generator

# --- files to begin with


def png(seed: int = 0, mode: str = "RGBA", size: tuple[int, int] = (64, 64)) -> bytes:
    rng = np.random.default_rng(seed)
    pixels = np.zeros((size[1], size[0], 4), dtype=np.uint8)
    pixels[..., 3] = 255
    pixels[size[1] // 3 : size[1] // 2] = rng.integers(0, 256, pixels[size[1] // 3 : size[1] // 2].shape)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def ranges(seed: int = 0) -> np.ndarray:
    image = np.full((64, 64), MAX_RANGE, dtype=np.float32)
    image[20:40, 20:40] = np.random.default_rng(seed).uniform(18, 32, (20, 20))
    return image


# --- bytes


def mutate(data: bytes, rng: Rng, near: tuple[int, int] | None = None, most: int = 4) -> bytes:
    """Up to ``most`` changes: bits flipped, bytes overwritten, stretches removed, doubled or inserted, the end cut off.

    Most hit the stretch ``near``, such as a header, where there is one.
    """
    out = bytearray(data)
    for _ in range(int(rng.integers(1, most + 1))):
        low, high = near if near and rng.random() < 0.7 else (0, len(out))
        high = min(high, len(out))
        if low >= high:
            break
        at, length = int(rng.integers(low, high)), int(rng.integers(1, 33))
        match rng.integers(8):
            case 0:
                out[at] ^= 1 << int(rng.integers(8))
            case 1 | 2:
                out[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, int(rng.integers(256))]))
            case 3:
                del out[at : at + length]
            case 4:
                out[at:at] = out[at : at + length]
            case 5:
                out[at:at] = rng.bytes(length)
            case 6:
                out[at : at + length] = bytes(len(out[at : at + length]))
            case 7 if rng.random() < 0.3:
                del out[at:]
    return bytes(out)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of an intact PNG."""
    found, start = [], 8
    while start < len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        found.append((kind, data[start + 8 : start + 8 + length]))
        start += 12 + length
    return found


def mutate_png(data: bytes, rng: Rng) -> bytes:
    """A PNG whose checksums are right: fields of the header, pixel data or the order of chunks changed."""
    parts = chunks(data)
    for _ in range(int(rng.integers(1, 3))):
        at = int(rng.integers(len(parts)))
        kind, body = parts[at]
        match rng.integers(7):
            case 0 | 1:
                header = list(struct.unpack(">IIBBBBB", parts[0][1])) if len(parts[0][1]) == 13 else [64, 64, *[8] * 5]
                field = int(rng.integers(7))
                legal = [0, 1, 2, 3, 4, 6, 8, 16, 63, 64, 65, 50_000, 2**31 - 1, 2**32 - 1]
                value = int(rng.choice(legal))
                header[field] = value if field < 2 else value % 256
                parts[0] = (b"IHDR", struct.pack(">IIBBBBB", *header))
            case 2:
                parts[at] = (kind, mutate(body, rng) if body else rng.bytes(4))
            case 3:
                parts.insert(int(rng.integers(len(parts) + 1)), parts[at])
            case 4:
                parts.insert(at, (rng.choice([b"PLTE", b"tRNS", b"gAMA", b"acTL", b"iCCP", b"zTXt"]), rng.bytes(12)))
            case 5:
                pixels = b"".join(body for kind, body in parts if kind == b"IDAT")
                with contextlib.suppress(zlib.error):
                    rows = mutate(zlib.decompressobj().decompress(pixels, 100_000), rng)
                    parts = [parts[0], (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
            case 6:
                parts[at] = (mutate(kind, rng)[:4].ljust(4, b"x"), body)
    return data[:8] + b"".join(chunk(*part) for part in parts)


def bomb() -> bytes:
    """A PNG whose few bytes inflate to 64 MiB, as a 64x64 image or as the text beside one."""
    return png()[:8] + b"".join(
        chunk(*part) for part in (*chunks(png())[:1], (b"zTXt", b"a\0\0" + _ZEROS), (b"IDAT", _ZEROS), (b"IEND", b""))
    )


_ZEROS = zlib.compress(bytes(64 * 2**20), 9)
SPECIAL = [math.nan, math.inf, -math.inf, -1.0, 0.0, -0.0, 1e-40, 50.0005, 50.1, 1e30, 3.2, -3.2, 180.0]


def mutate_npy(array: np.ndarray, rng: Rng) -> bytes:
    """A valid header over other values, another dtype or a shape that claims too much; or a few special values."""
    match rng.integers(4):
        case 0:
            array = array.copy()
            array.flat[rng.integers(array.size, size=int(rng.integers(1, 4)))] = rng.choice(SPECIAL)
            return npy(array)
        case 1:
            other = [np.float64, np.float16, np.int32, np.uint8, np.bool_, np.complex64, ">f4", "S4", "U1", object]
            with np.errstate(all="ignore"):
                return npy(array.astype(other[int(rng.integers(len(other)))]))
        case 2:
            big = [0, 1, 63, 64, 65, 4096, 2**20, 2**31, 2**40, 2**62, 2**63, -1]
            shape = tuple(int(rng.choice(big)) for _ in range(int(rng.integers(0, 4))))
            descr = str(rng.choice(["<f4", "<f8", "|O", "<f4 ", "|V4", "<U9999999", "f4,f4", "<M8[s]"]))
            header = repr({"descr": descr, "fortran_order": bool(rng.integers(2)), "shape": shape})
            version = int(rng.choice([1, 2, 3]))
            size = struct.pack("<H" if version == 1 else "<I", len(header) + 1)
            return b"\x93NUMPY" + bytes([version, 0]) + size + header.encode() + b"\n" + array.tobytes()
        case _:
            with np.errstate(all="ignore"):
                return npy(np.asfortranarray((array * rng.choice([1, -1, 2, 0, 1e9])).astype(np.float32)))


# --- readers: ``mutated`` makes input i, ``judge`` reads it and says what became of it


class Refused(Exception):
    """Listed with a reason instead of being used."""


@dataclass(frozen=True)
class Place:
    """Folders that an input may use: ``inputs`` is made by it, ``target`` is where the reader may write."""

    inputs: Path
    target: Path


Judge = Callable[[Rng, Place], bool]
"""Reads one mutated input. True: what it gave equals the original; False: other data, all of it valid.

Raises ``UserError``, ``Unusable`` or ``Refused`` for what was refused, and ``AssertionError`` for what was not valid.
"""


def judge_png(rng: Rng, _: Place) -> bool:
    original = png(int(rng.integers(50)))
    way = rng.random()
    if way < 0.4:
        data, strict = mutate(original, rng, (0, 60)), True
    elif way < 0.98:
        data, strict = mutate_png(original, rng), False
    elif way < 0.985:
        data, strict = bomb(), False
    else:
        data, strict = png(0, str(rng.choice(["P", "L", "LA", "RGB", "1", "I;16"]))), False
    pixels = decode_rgb(data)
    assert (pixels.shape, pixels.dtype) == ((64, 64, 4), np.uint8)
    same = np.array_equal(pixels, decode_rgb(original))
    assert same or not strict, "a damaged PNG gave other pixels"
    assert struct.unpack_from(">IIBBB", data, 16) == (64, 64, 8, 6, 0)
    return same


def judge_range(rng: Rng, _: Place) -> bool:
    original = ranges(int(rng.integers(50)))
    data = mutate(npy(original), rng, (0, 128)) if rng.random() < 0.5 else mutate_npy(original, rng)
    found = decode_range(data)
    check_range(found)
    np.testing.assert_array_equal(found, np.load(io.BytesIO(data), allow_pickle=False))
    return np.array_equal(found, original)


def judge_angles(rng: Rng, _: Place) -> bool:
    original = lidar_angles()
    data = mutate(npy(original), rng, (0, 128)) if rng.random() < 0.5 else mutate_npy(original, rng)
    found = decode_angles(data)
    check_angles(found)
    np.testing.assert_array_equal(found, np.load(io.BytesIO(data), allow_pickle=False))
    return np.array_equal(found, original)


def check_range(found: np.ndarray) -> None:
    assert (found.shape, found.dtype) == ((64, 64), np.float32)
    assert np.isfinite(found).all() and found.min() > 0 and found.max() <= MAX_RANGE + 1e-3


def check_angles(found: np.ndarray) -> None:
    assert (found.shape, found.dtype) == ((64,), np.float32)
    assert np.isfinite(found).all() and np.abs(found).max() <= np.float32(math.pi)


def torch_bytes(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def mutate_members(data: bytes, rng: Rng) -> bytes:
    """The archive written anew, checksums and all, with members changed, swapped, cut, doubled, renamed or left out."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    at, other = (int(rng.integers(len(members))) for _ in range(2))
    if rng.random() < 0.5:  # the pickle
        at = 0
    name, body = members[at]
    method = zipfile.ZIP_STORED
    match rng.integers(7):
        case 0 | 1 | 2:
            members[at] = (name, mutate(body, rng))
        case 3:
            members[at], members[other] = (name, members[other][1]), (members[other][0], body)
        case 4:
            members[at] = (name, body[: int(rng.integers(len(body) + 1))])
        case 5:
            members.insert(other, (name if rng.random() < 0.5 else f"{name}0", body))
        case 6:
            method = zipfile.ZIP_DEFLATED if rng.random() < 0.5 else method
            del members[at]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, body in members:
            archive.writestr(name, body)
    return file.getvalue()


_PACKED = make_packed(2, 1, 1)
_PACKED_FIELDS = {name: getattr(_PACKED, name) for name in packed.SHAPES}
_PACKED_BYTES = torch_bytes({"format": packed.FORMAT, **_PACKED_FIELDS})


def mutate_fields(rng: Rng) -> bytes:
    """Packed data saved as they should be, with a value, dtype, shape or layout that they should not have."""
    fields: dict[str, Any] = {name: tensor.clone() for name, tensor in _PACKED_FIELDS.items()}
    name = str(rng.choice([*fields]))
    tensor = fields[name]
    match rng.integers(7):
        case 0 | 1 | 2:
            value = float(rng.choice([*SPECIAL, 1, 2, 3, 77, 255])) if tensor.is_floating_point() else None
            tensor.view(-1)[int(rng.integers(tensor.numel()))] = (
                value if value is not None else int(rng.choice([0, 1, 2, 3, 77, 127, 255 if name != "scene" else -1]))
            )
        case 3:
            fields[name] = tensor.to([torch.float64, torch.int64, torch.bool, torch.float16][int(rng.integers(4))])
        case 4:
            fields[name] = [tensor[:-1], tensor[None], tensor.flip(0), tensor[:0]][int(rng.integers(4))]
        case 5:
            fields[name] = [
                None,
                "text",
                5,
                [1, 2],
                tensor.to_sparse(),
                tensor.to("meta"),
                tensor[:1].expand_as(tensor),
            ][int(rng.integers(7))]
        case 6:
            fields["format" if rng.random() < 0.5 else str(rng.choice(["path", "other"]))] = "cilp-packed-2"
            fields = {key: fields[key] for key in rng.permutation([*fields])[: int(rng.integers(6, 11))]}
    return torch_bytes({"format": packed.FORMAT, **fields})


def judge_packed(rng: Rng, place: Place) -> bool:
    way = rng.random()
    strict = way < 0.5
    if strict:
        data = mutate(_PACKED_BYTES, rng, (0, 1200) if rng.random() < 0.5 else (len(_PACKED_BYTES) - 2000, 10**9))
    else:
        data = mutate_members(_PACKED_BYTES, rng) if way < 0.75 else mutate_fields(rng)
    path = place.inputs / "packed.pt"
    path.write_bytes(data)
    found = packed.load(path)
    same = all(torch.equal(getattr(found, name), tensor) for name, tensor in _PACKED_FIELDS.items())
    assert same or not strict, "a damaged file gave other data"
    count, sensors = len(found.label), len(found.azimuth)
    for name, (dtype, shape) in packed.SHAPES.items():
        sizes = tuple({"N": count, "K": sensors}.get(size, size) for size in shape)
        tensor = getattr(found, name)
        assert (tensor.dtype, tuple(tensor.shape), tensor.layout) == (dtype, sizes, torch.strided)
    for tensor in found.range:
        check_range(tensor.numpy())
    for angles in (*found.azimuth, *found.zenith):
        assert bool((angles.abs() <= math.pi + 1e-3).all())
    assert set(found.label.tolist()) <= {0, 1, packed.UNLABELLED} and set(found.split.tolist()) <= {0, 1, 2}
    assert found.split.tolist() == sorted(found.split.tolist())
    assert all(sensor < sensors for sensor in found.sensor.tolist()) and all(scene >= 0 for scene in found.scene)
    return same


_EMBEDDER = {
    "modality": "lidar", "rgb": "shading", "xyz_centre": [0.0, 25.0, 0.0], "xyz_scale": 5.0, "zero_background": True,
    "initialisation": "torch",
}  # fmt: skip
_PROJECTOR = projector.build()
_CHECKPOINT = {
    "format": FORMAT,
    "model": "projector",
    "arguments": {},
    "params": {"epochs": 2},
    "seed": 1,
    "weights": dict(_PROJECTOR.state_dict()),
}
_CHECKPOINT_BYTES = torch_bytes(_CHECKPOINT)


def mutate_checkpoint(rng: Rng) -> bytes:
    content: dict[str, Any] = copy.deepcopy(_CHECKPOINT)
    weights = content["weights"]
    name = str(rng.choice([*weights]))
    match rng.integers(6):
        case 0:
            names = ["os", "os.path", "nowhere", "blocks", "windows", "fusion", "__init__", "", 5, None, ["projector"]]
            content["model"] = names[int(rng.integers(len(names)))]
        case 1:
            values = [None, 5, [1], {"x": 1}, {1: 2}, "text", {"modality": 2**40}, _EMBEDDER]
            content[str(rng.choice([*content]))] = values[int(rng.integers(len(values)))]
        case 2:
            weights[name].view(-1)[int(rng.integers(weights[name].numel()))] = float(rng.choice([*SPECIAL]))
        case 3:
            weights[name] = [weights[name][:1], None, weights[name].double(), torch.zeros(2**20), "x"][
                int(rng.integers(5))
            ]
        case 4:
            del content[str(rng.choice([*content]))]
        case 5:
            del weights[name]
    return torch_bytes(content)


def judge_checkpoint(rng: Rng, place: Place) -> bool:
    way = rng.random()
    strict = way < 0.5
    if strict:
        size = len(_CHECKPOINT_BYTES)
        data = mutate(_CHECKPOINT_BYTES, rng, (0, 1200) if rng.random() < 0.5 else (size - 1500, size))
    else:
        data = mutate_members(_CHECKPOINT_BYTES, rng) if way < 0.75 else mutate_checkpoint(rng)
    path = place.inputs / "model.pt"
    path.write_bytes(data)
    model, content = load_checkpoint(path)
    state, ours = model.state_dict(), _PROJECTOR.state_dict()
    same = state.keys() == ours.keys() and all(torch.equal(state[name], ours[name]) for name in ours)
    assert same or not strict, "a damaged file gave other weights"
    assert all(bool(tensor.isfinite().all()) and tensor.dtype == torch.float32 for tensor in state.values())
    assert isinstance(content["params"], dict) and isinstance(content["seed"], int)
    return same and content == {name: value for name, value in _CHECKPOINT.items() if name != "weights"}


SCENES = 2
PAIRS = [Pair(index, label) for index in range(SCENES) for label in CLASSES]


def tree() -> dict[str, bytes]:
    """The files of a small tree in the raw layout."""
    files = {}
    for number, pair in enumerate(PAIRS):
        files[rgb_path(Path(), pair).as_posix()] = png(number)
        files[lidar_path(Path(), pair).as_posix()] = npy(ranges(number))
    for label in CLASSES:
        for name in ("azimuth", "zenith"):
            files[f"{class_folder(Path(), label)}/{name}.npy"] = npy(lidar_angles())
    return files


_TREE = tree()
_MANIFEST = b"class,index,split\n" + b"".join(f"{pair.label},{pair.index},train\n".encode() for pair in PAIRS)
NAMES = [
    "../../outside.png", "/outside.png", "//host/outside.png", "C:/outside.png", "cubes\\..\\..\\outside.png",
    "cubes/rgb/../../../outside.png", "cubes/rgb/0000.png", "cubes/rgb/0.png", "cubes/rgb/x.png", "cubes/rgb/.0000.png",
    "cubes/lidar/lidar/0000.npy", "cubes/rgb/\n.png", "cubes/rgb/1,2.png", "cubes/rgb/9999999999.png", "cubes", ".",
    "cubes/" * 500 + "rgb/0001.png", "__MACOSX/cubes/rgb/0000.png", "manifest.csv", "spheres/azimuth.npy",
    "other/cubes/rgb/0000.png", "cubes/rgb/\u0661.png",
]  # fmt: skip


def mutate_file(name: str, rng: Rng) -> bytes:
    """Other content for a file of the tree."""
    seed = int(rng.integers(50))
    if rng.random() < 0.1:
        return b""
    if name.endswith(".csv"):
        return mutate(_MANIFEST, rng)
    if name.endswith(".png"):
        return mutate(png(seed), rng, (0, 60)) if rng.random() < 0.5 else mutate_png(png(seed), rng)
    array = lidar_angles() if name.endswith(("azimuth.npy", "zenith.npy")) else ranges(seed)
    return mutate(npy(array), rng, (0, 128)) if rng.random() < 0.5 else mutate_npy(array, rng)


def check_import(place: Place, files: int, hidden: int, manifest: bool, result: tuple[list[Pair], Any]) -> bool:
    """Every pair that was taken is good, and every file was used or is listed with a reason."""
    pairs, report = result
    kept = {}
    for pair in pairs:
        for path, decode in ((rgb_path, decode_rgb), (lidar_path, decode_range)):
            data = path(place.target, pair).read_bytes()
            decode(data)
            kept[path(Path(), pair).as_posix()] = data
    for label in CLASSES:
        for name in ("azimuth", "zenith"):
            data = (class_folder(place.target, label) / f"{name}.npy").read_bytes()
            check_angles(decode_angles(data))
            kept[f"{class_folder(Path(), label)}/{name}.npy"] = data
    left = {path.relative_to(place.target).as_posix() for path in place.target.rglob("*") if path.is_file()}
    assert left == kept.keys() | {"skipped.csv"}, "files that no pair has"
    with open(place.target / "skipped.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 1 + len(report.rows) and all(reason for _, reason in rows)
    listed = sum(reason not in ("hidden folder", "listed in manifest.csv but missing") for _, reason in report.rows)
    used = 2 * len(pairs) + 2 * len(CLASSES) + manifest
    assert files == used + listed + hidden, f"of {files} files {used} were used and {listed} are listed"
    if len(pairs) < len(PAIRS):
        assert report.rows or files < len(_TREE)
        raise Refused
    return kept == _TREE


def judge_zip(rng: Rng, place: Place) -> bool:
    path = place.inputs / "tree.zip"
    files = dict(_TREE) | ({"manifest.csv": _MANIFEST} if rng.random() < 0.3 else {})
    members: list[tuple[str, bytes, int]] = [(name, data, zipfile.ZIP_DEFLATED) for name, data in files.items()]
    kind = int(rng.integers(4))
    for _ in range(int(rng.integers(1, 4)) if kind else 0):
        at = int(rng.integers(len(members)))
        name, data, method = members[at]
        match rng.integers(7):
            case 0 | 1:
                members[at] = (name, mutate_file(name, rng), method)
            case 2:
                members.append((str(rng.choice(NAMES)), data, method))
            case 3:  # the same name again
                members.append((name, data if rng.random() < 0.5 else mutate_file(name, rng), method))
            case 4:
                methods = [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
                members[at] = (name, data, methods[int(rng.integers(3))])
            case 5:
                members[at] = (name, bytes(2**22), method) if rng.random() < 0.3 else (name, bomb(), method)
            case 6:
                del members[at]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data, method in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            if kind and rng.random() < 0.02:
                info.external_attr = int(rng.choice([0o120777, 0o010777, 0o040755])) << 16
            archive.writestr(info, data)
    data = buffer.getvalue()
    if kind == 0:
        data = mutate(data, rng, (data.index(b"PK\x01\x02"), len(data)))
    elif kind == 1:
        data = lie(data, rng)
    path.write_bytes(data)
    result = import_tree(path, place.target, 0)
    with zipfile.ZipFile(path) as archive:
        names = [info.filename for info in archive.infolist() if not info.filename.endswith(("/", "\\"))]
    hidden = [name for name in names if is_hidden(name)]
    return check_import(place, len(names), len(hidden), has_manifest(names, result[1]), result)


def is_hidden(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or not parts.parts or ":" in parts.parts[0]:
        return False
    return any(part.startswith(".") or part == "__MACOSX" for part in parts.parts[:-1])


def has_manifest(names: list[str], report: Any) -> bool:
    """Whether one of the files was taken as the manifest, rather than listed as foreign."""
    return names.count("manifest.csv") > sum(file == "manifest.csv" for file, _ in report.rows)


def lie(data: bytes, rng: Rng) -> bytes:
    """The archive with sizes, checksums, offsets, flags or methods in its headers that are not those of its members."""
    out = bytearray(data)
    fields = {  # offset and format in the local header, in the central directory
        b"PK\x03\x04": [(6, "<H"), (8, "<H"), (14, "<I"), (18, "<I"), (22, "<I"), (26, "<H"), (28, "<H")],
        b"PK\x01\x02": [
            (6, "<H"), (8, "<H"), (10, "<H"), (16, "<I"), (20, "<I"), (24, "<I"), (28, "<H"), (30, "<H"), (38, "<I"),
            (42, "<I"),
        ],
        b"PK\x05\x06": [(4, "<H"), (8, "<H"), (10, "<H"), (12, "<I"), (16, "<I"), (20, "<H")],
    }  # fmt: skip
    for _ in range(int(rng.integers(1, 4))):
        signature = [*fields][int(rng.integers(3))]
        starts, at = [], out.find(signature)
        while at >= 0:
            starts.append(at)
            at = out.find(signature, at + 1)
        if not starts:
            continue
        offset, form = fields[signature][int(rng.integers(len(fields[signature])))]
        place = starts[int(rng.integers(len(starts)))] + offset
        if place + struct.calcsize(form) > len(out):
            continue
        top = 2 ** (8 * struct.calcsize(form)) - 1
        value = int(rng.choice([0, 1, 8, 12, 46, 100, 16_512, 2**16 - 1, 2**31 - 1, 2**32 - 1]))
        struct.pack_into(form, out, place, min(value, top))
    return bytes(out)


def judge_folder(rng: Rng, place: Place) -> bool:
    root = place.inputs / "tree"
    files = dict(_TREE) | ({"manifest.csv": _MANIFEST} if rng.random() < 0.3 else {})
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    outside = place.inputs / "outside"
    outside.mkdir()
    (outside / "0001.png").write_bytes(png(1))
    for _ in range(int(rng.integers(1, 4))):
        name = [*files][int(rng.integers(len(files)))]
        path = root / name
        match rng.integers(7):
            case 0 | 1 | 2:
                if path.is_file() and not path.is_symlink():
                    path.write_bytes(mutate_file(name, rng))
            case 3:
                path.unlink(missing_ok=True)
                path.symlink_to(outside / "0001.png" if rng.random() < 0.5 else outside)
            case 4:
                path.unlink(missing_ok=True)
                os.mkfifo(path)
            case 5:
                new = str(rng.choice([name for name in NAMES if not name.startswith(("/", ".."))])).replace("\\", "_")
                new = (root / os.path.normpath(new)) if len(new) < 1000 else root / "cubes" / new
                if new.resolve().is_relative_to(root) and not new.exists() and not new.is_symlink():
                    with contextlib.suppress(OSError):  # a file or a link stands where a folder would
                        new.parent.mkdir(parents=True, exist_ok=True)
                        new.write_bytes(files[name] if rng.random() < 0.5 else mutate_file(name, rng))
            case 6:
                copied = path.with_name(path.name.lstrip("0"))
                if path.is_file() and not path.is_symlink() and not copied.exists():
                    copied.write_bytes(files[name] if rng.random() < 0.5 else mutate_file(name, rng))
    result = import_tree(root, place.target, 0)
    names = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_symlink() or not path.is_dir()]
    hidden = [name for name in names if is_hidden(name)]
    return check_import(place, len(names), len(hidden), has_manifest(names, result[1]), result)


def judge_manifest(rng: Rng, place: Place) -> bool:
    pairs = [Pair(index, label, SPLITS[index % 3]) for index in range(6) for label in CLASSES]
    lines = [["class", "index", "split"], *([pair.label, str(pair.index), pair.split] for pair in pairs)]
    if rng.random() < 0.5:
        values = [
            "", "cube", "sphere", "cone", "0", "-1", "1.0", "1e3", "7" * 10, "7" * 5000, "\u0661", "train", "TRAIN",
            "nan", "=1+1", '"', "\n", "\0", "x" * 200_000, " 1", "class", "index,split",
        ]  # fmt: skip
        for _ in range(int(rng.integers(1, 3))):
            row, other = (int(rng.integers(len(lines))) for _ in range(2))
            column = int(rng.integers(3))
            match rng.integers(5):
                case 0:
                    lines[row][column % len(lines[row])] = values[int(rng.integers(len(values)))]
                case 1:
                    lines[row], lines[other] = lines[other], lines[row]
                case 2:
                    lines.insert(other, list(lines[row]))
                case 3:
                    lines[row] = [*lines[row], "surplus"] if rng.random() < 0.5 else lines[row][:2]
                case 4:
                    lines[row] = [lines[row][-1], *lines[row][:-1]]
        data = "\n".join(",".join(line) for line in lines).encode("utf-8") + b"\n"
    else:
        data = mutate("\n".join(",".join(line) for line in lines).encode() + b"\n", rng, most=1)
    path = place.inputs / "manifest.csv"
    path.write_bytes(data)
    found = read_manifest(path)
    for pair in found:
        assert pair.label in CLASSES and pair.split in ("", *SPLITS)
        assert type(pair.index) is int and 0 <= pair.index < 10**9
    assert len({(pair.index, pair.label) for pair in found}) == len(found)
    if b'"' not in data and b"\r" not in data:
        text = data.decode("utf-8-sig")
        header, *rows = [line.split(",") for line in text.split("\n") if line]
        plain = [dict(zip(header, row, strict=True)) for row in rows]
        assert found == [Pair(int(row["index"]), row["class"], row["split"]) for row in plain]
    return found == pairs


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


def write_export(rng: Rng, root: Path, damage_media: bool) -> None:
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
    write_export(rng, root, damage_media=False)
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
    write_export(rng, root, damage_media=True)
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


READERS: dict[str, tuple[Judge, float]] = {
    "PNG": (judge_png, 0.20),
    "npy range image": (judge_range, 0.15),
    "npy calibration": (judge_angles, 0.10),
    "packed.pt": (judge_packed, 0.12),
    "checkpoint": (judge_checkpoint, 0.08),
    "zip": (judge_zip, 0.12),
    "folder": (judge_folder, 0.04),
    "manifest.csv": (judge_manifest, 0.10),
    "export JSON": (judge_export, 0.10),
    "hub import": (judge_hub, 0.03),
}
"""Each reader's judge and its share of the inputs."""


# --- the run


class TooSlow(BaseException):
    """No reader catches it."""


class Guard:
    """Notes files that are opened for writing, and folders that are made, outside of the folders allowed."""

    def __init__(self) -> None:
        self.allowed: tuple[str, ...] | None = None
        self.broken: list[str] = []
        sys.addaudithook(self.heard)

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.allowed is None or event not in ("open", "os.mkdir", "os.rename", "os.symlink", "os.link"):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            return
        for path in arguments[:2] if event in ("os.rename", "os.link") else arguments[:1]:
            if isinstance(path, str | bytes | os.PathLike):
                place = os.path.realpath(os.fsdecode(path))
                if not any(place == folder or place.startswith(folder + os.sep) for folder in self.allowed):
                    self.broken.append(f"{event} {place}")


def causes(error: BaseException | None) -> list[BaseException]:
    found = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def peak_bytes() -> int:
    """Most address space that the process had: what is allocated counts, whether it is touched or not."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmPeak:"))
    return int(line.split()[1]) * 1024


def attempt(judge: Judge, rng: Rng, folder: Path, guard: Guard, most_bytes: int) -> str:
    """What became of one input: "unchanged", "other, valid" or "refused"; anything else is an ``AssertionError``."""
    place = Place(folder / "inputs", folder / "target")
    place.inputs.mkdir()
    scratch = folder / "scratch"
    guard.allowed, guard.broken = tuple(os.path.realpath(path) for path in (place.inputs, place.target, scratch)), []
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True)  # where even the alarm is not heard
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        outcome = "unchanged" if judge(rng, place) else "other, valid"
    except (UserError, Unusable, Refused) as error:
        outcome = "refused"
        assert isinstance(error, Refused) or 0 < len(str(error)) < 2000, "no sentence"
        for cause in causes(error):
            assert not isinstance(cause, MemoryError) and "allocate memory" not in str(cause), f"memory: {cause!r}"
    except TooSlow:
        raise AssertionError(f"took more than {SECONDS} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        guard.allowed = None
    assert peak_bytes() <= most_bytes, f"took more than {MOST_BYTES / 2**30:g} GiB"
    assert not guard.broken, f"touched {guard.broken}"
    assert sorted(path.name for path in folder.iterdir()) in (["inputs", "scratch"], ["inputs", "scratch", "target"])
    assert not any(scratch.iterdir()), "left a temporary file"
    for path in (place.inputs, place.target):
        shutil.rmtree(path, ignore_errors=True)
    return outcome


def slow(*_: object) -> None:
    raise TooSlow


def run(readers: list[str], inputs: int, first: int) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Outcomes by reader, and what went wrong, a line each."""
    faulthandler.enable()
    signal.signal(signal.SIGALRM, slow)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 8 * MOST_BYTES, resource.RLIM_INFINITY))  # else the machine suffers
    most_bytes = max(peak_bytes(), size + MOST_BYTES)  # of all inputs together, hence of each
    guard = Guard()
    counts: dict[str, dict[str, int]] = {}
    failures = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        for reader in readers:
            judge, share = READERS[reader]
            outcomes: Counter[str] = Counter({"unchanged": 0, "other, valid": 0, "refused": 0})
            seed = zlib.crc32(reader.encode())
            for number in range(first, first + (inputs if len(readers) == 1 else math.ceil(inputs * share))):
                folder = Path(temporary, "input")
                (folder / "scratch").mkdir(parents=True)
                tempfile.tempdir = str(folder / "scratch")
                print(f"{reader} {number}", file=sys.stderr, flush=True)  # the last line, should it crash
                try:
                    with contextlib.redirect_stdout(io.StringIO()):
                        outcomes[attempt(judge, np.random.default_rng([seed, number]), folder, guard, most_bytes)] += 1
                except Exception as error:
                    outcomes["FAILED"] += 1
                    where = traceback.extract_tb(error.__traceback__)[-1]
                    place = f"{where.filename}:{where.lineno}"
                    failures.append(f"{reader} {number}: {type(error).__name__}: {str(error)[:300]} ({place})")
                shutil.rmtree(folder)
            counts[reader] = dict(outcomes)
    tempfile.tempdir = None
    return counts, failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000, help="of all readers together, or of the one named")
    parser.add_argument("--reader", choices=READERS, help="one reader alone")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    counts, failures = run([arguments.reader] if arguments.reader else [*READERS], arguments.inputs, arguments.first)
    print(json.dumps({"counts": counts, "failures": failures}))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
