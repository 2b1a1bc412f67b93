"""Judges of the import of a tree in the raw layout, as a folder or a zip, and of its manifest."""

import contextlib
import csv
import io
import os
import struct
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from cilp.raw.decode import decode_angles, decode_range, decode_rgb
from cilp.raw.folder import import_tree
from cilp.raw.layout import CLASSES, SPLITS, Pair, class_folder, lidar_path, read_manifest, rgb_path
from cilp.sensors import lidar_angles
from fuzz.judging import Place, Refused, check_angles
from fuzz.mutations import Rng, bomb, mutate, mutate_npy, mutate_png, npy, png, ranges

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
