"""The ``folder`` source: an existing tree in the raw layout, however messy, copied out clean.

Every file of the source is either used or stands in ``skipped.csv`` with the reason. Files that are used keep their
bytes; only their names become canonical.
"""

import csv
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from cilp.console.progress import track
from cilp.errors import UserError
from cilp.raw.archive import Entry, open_source
from cilp.raw.decode import Unusable, decode_angles, decode_range, decode_rgb
from cilp.raw.layout import (
    CLASSES,
    INDEX,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    Pair,
    class_folder,
    lidar_path,
    read_manifest,
    rgb_path,
    write_calibration,
)

SKIPPED = "skipped.csv"
CALIBRATION = ("azimuth", "zenith")
KINDS = {"rgb": ".png", "lidar": ".npy"}
"""Folder and suffix of an image and of a range image."""
REASONS_SHOWN = 8
NAMES_SHOWN = 5

_FOLDERS = {class_folder(Path(), label).name: label for label in CLASSES}
_UNPAIRED = {"rgb": "image without a range image", "lidar": "range image without an image"}
_PARTNER_UNUSABLE = {"rgb": "image whose range image is unusable", "lidar": "range image whose image is unusable"}
_COPY = "copy of a file that is used"
_FOREIGN = "not part of the raw layout"
_WANTED = "a folder, or a .zip of one, that contains cubes/ and spheres/"


@dataclass(frozen=True)
class FolderParams:
    """The params section ``data.folder``."""

    path: str | None

    def source(self) -> Path:
        """``path`` with ``~`` expanded.

        Raises:
            UserError: it is null or empty.
        """
        if not self.path:
            raise UserError(f"data.folder.path is not set; data.source: folder needs it to name {_WANTED}.")
        try:
            return Path(self.path).expanduser()
        except RuntimeError:
            return Path(self.path)


@dataclass
class Report:
    """What was left out, and why: ``rows`` of (path relative to the source, reason)."""

    rows: list[tuple[str, str]] = field(default_factory=list)

    def skip(self, file: str | PurePosixPath, reason: str) -> None:
        """Add one row."""
        self.rows.append((str(file), reason))

    @property
    def counts(self) -> dict[str, int]:
        """Rows per reason, the most frequent reason first."""
        return dict(sorted(Counter(reason for _, reason in self.rows).items(), key=lambda item: (-item[1], item[0])))

    def summary(self) -> str:
        """One line with the total and the counts of the most frequent reasons."""
        counts = [f"{reason} ({count:,})" for reason, count in self.counts.items()]
        more = len(counts) - REASONS_SHOWN
        shown = ", ".join(counts[:REASONS_SHOWN]) + (f", and {more} other reasons" if more > 0 else "")
        return f"skipped {len(self.rows):,} files: {shown}" if counts else "skipped no files"

    def write(self, root: Path) -> Path:
        """Write the rows in order to ``<root>/skipped.csv``; bytes in names that are no UTF-8 are escaped."""
        path = Path(root) / SKIPPED
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("file", "reason"))
            writer.writerows(sorted(self.rows))
        return path


@dataclass
class _Tree:
    """Files of a source by what their paths say they are."""

    base: PurePosixPath  # of the folder that contains cubes and spheres
    files: dict[tuple[str, str], dict[int, list[Entry]]]  # (label, kind) -> index -> candidates
    calibration: dict[tuple[str, str], list[Entry]]  # (label, azimuth or zenith) -> candidates
    manifest: Entry | None = None


@dataclass
class _Found:
    """The candidates for one file. Of those that are good only the first is kept in memory: its bytes and array."""

    good: list[Entry] = field(default_factory=list)
    bad: list[tuple[Entry, str]] = field(default_factory=list)
    data: bytes = b""
    first: np.ndarray | None = None
    differ: bool = False  # in values: files that only encode the same values differently do not


def import_tree(
    source: Path, root: Path, required_scenes: int, param: str = "data.folder.path"
) -> tuple[list[Pair], Report]:
    """Copy the usable pairs of ``source``, a directory or zip archive, into the clean raw layout below ``root``.

    The tree may lie nested in the source, and ``rgb``, ``lidar`` and the calibration nested in their class folders. A
    ``manifest.csv`` beside ``cubes`` and ``spheres`` decides, where there is one, which pairs are taken and gives their
    splits. ``root`` also gets ``skipped.csv``; writing ``manifest.csv`` is left to the caller. ``param`` is the name of
    what says where the source is, for errors.

    Returns:
        The usable pairs, in order, and the report of all that was skipped. A pair is returned, too, when the other
        class has none of its index.

    Raises:
        UserError: the source is missing, no tree (or more than one) is found in it, a calibration file is missing or
            unusable, or fewer than ``required_scenes`` indices have a usable pair of both classes. Where the manifest
            gives splits, these decide what is used, however much it is.
    """
    source, root = Path(source), Path(root)
    _check_place(source, root, param)
    report = Report()
    try:
        with open_source(source, report.skip, param) as entries:
            listed = f"; {report.summary()}, listed in {root / SKIPPED}" if report.rows else ""
            tree = _sort_entries(entries, _find_base(entries, source, param, listed), report)
            splits = _read_splits(tree.manifest, source)
            calibration = {label: _read_calibration(tree, label, source, report) for label in CLASSES}
            for label, (azimuth, zenith) in calibration.items():
                write_calibration(root, label, azimuth, zenith)
            pairs = _copy_pairs(tree, root, splits, report)
    finally:
        report.write(root)
    print(report.summary(), flush=True)
    if not any(pair.split for pair in pairs):
        _check_enough(pairs, required_scenes, source, root)
    return pairs, report


def _check_place(source: Path, root: Path, param: str) -> None:
    # an experiment may run in a copy of the project, where a relative path leads elsewhere
    shown = f"{param}: {source}" + ("" if source.is_absolute() else f" (here {source.absolute()})")
    try:
        there, inside, outside = source.exists(), source.resolve(), root.resolve()
    except OSError as error:  # a folder above it is not ours to look into, or the name is too long
        raise UserError(f"{shown} cannot be read ({error.strerror}); give {_WANTED}.") from None
    if not there:
        how = "" if source.is_absolute() else "the absolute path of "
        raise UserError(f"{shown} does not exist; give {how}{_WANTED}.")
    if inside.is_relative_to(outside) or outside.is_relative_to(inside):
        raise UserError(f"{shown} and {root}, where the clean copy goes, overlap; give {_WANTED}.")


def _check_enough(pairs: list[Pair], required: int, source: Path, root: Path) -> None:
    usable = {label: {pair.index for pair in pairs if pair.label == label} for label in CLASSES}
    scenes = set.intersection(*usable.values())
    if len(scenes) < required:
        found = ", ".join(f"{len(indices):,} usable {label} pairs" for label, indices in usable.items())
        raise UserError(
            f"{source} has {found} and {len(scenes):,} scenes with both, but data.subset + data.test ask for "
            f"{required:,} scenes: lower one of them or give a fuller tree ({root / SKIPPED} lists what was skipped "
            "and why)."
        )


def _find_base(entries: list[Entry], source: Path, param: str, listed: str) -> tuple[str, ...]:
    """Parts of the path, relative to the source, of the one folder that contains ``cubes`` and ``spheres``.

    ``listed`` is what to say of files that were left out before.
    """
    parents: dict[str, set[tuple[str, ...]]] = {folder: set() for folder in _FOLDERS}
    for entry in entries:
        if entry.name.suffix.lower() in KINDS.values():
            for depth, part in enumerate(entry.name.parts[:-1]):
                if part in parents:
                    parents[part].add(entry.name.parts[:depth])
    bases = sorted(set.intersection(*parents.values()))
    if len(bases) > 1:
        found = _join("/".join(base) or "." for base in bases)
        raise UserError(
            f"{param}: {source} holds {len(bases)} trees that contain cubes/ and spheres/, in {found}; "
            "give the path of one of them (unpack a .zip first)."
        )
    if not bases:
        halves = sorted("/".join((*parent, folder)) for folder in parents for parent in parents[folder])
        found = _join(halves or sorted({entry.name.parts[0] for entry in entries})) or "no files"
        raise UserError(
            f"{param}: no folder in {source} contains both cubes/ and spheres/ with .png and .npy files "
            f"(found: {found}{listed}); give {_WANTED}."
        )
    return bases[0]


def _join(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")


def _sort_entries(entries: list[Entry], base: tuple[str, ...], report: Report) -> _Tree:
    """Tell from their paths what the files are; candidates for one index come in order of depth and path."""
    tree = _Tree(PurePosixPath(*base), defaultdict(lambda: defaultdict(list)), defaultdict(list))
    for entry in sorted(entries, key=lambda entry: (len(entry.name.parts), entry.name)):
        parts = entry.name.parts
        inside = parts[len(base) :] if parts[: len(base)] == base else ()
        label = _FOLDERS.get(inside[0]) if len(inside) > 1 else None
        stem, suffix = entry.name.stem, entry.name.suffix.lower()
        kind = next((kind for kind in KINDS if suffix == KINDS[kind] and kind in inside[1:-1]), None)
        if inside == (MANIFEST,) and tree.manifest is None:
            tree.manifest = entry
        elif label and stem in CALIBRATION and suffix == ".npy":
            tree.calibration[label, stem].append(entry)
        elif label and kind and INDEX.fullmatch(stem):
            tree.files[label, kind][int(stem)].append(entry)
        else:
            report.skip(entry.name, "name is not a number" if label and kind else _FOREIGN)
    return tree


def _read_splits(manifest: Entry | None, source: Path) -> dict[tuple[str, int], str] | None:
    """Split of every (label, index) that the source's manifest lists; None without a manifest."""
    if manifest is None:
        return None
    shown = str(source / manifest.name)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / MANIFEST
        try:
            copy.write_bytes(manifest.read(MAX_MANIFEST_BYTES))
            return {(pair.label, pair.index): pair.split for pair in read_manifest(copy)}
        except UserError as error:
            raise UserError(str(error).replace(str(copy), shown)) from None
        except Unusable as error:
            raise UserError(f"{shown} cannot be read ({error}); mend or remove it.") from None


def _read_calibration(tree: _Tree, label: str, source: Path, report: Report) -> list[np.ndarray]:
    """Azimuth and zenith of one class: two (64,) float32 arrays in radians."""
    angles = []
    for name in CALIBRATION:
        candidates = tree.calibration[label, name]
        if not candidates:
            raise UserError(_missing_calibration(tree, label, name, source))
        found = _decode_all(candidates, decode_angles)
        if found.first is None:
            file, reason = found.bad[0]
            raise UserError(f"{source / file.name}: {reason}; replace it by 64 float32 angles in radians.")
        if found.differ:
            files = _join(str(source / entry.name) for entry in found.good)
            raise UserError(f"{label} has several {name}.npy that differ ({files}); keep the right one.")
        for file, reason in found.bad:
            report.skip(file.name, reason)
        for entry in found.good[1:]:
            report.skip(entry.name, _COPY)
        angles.append(found.first)
    return angles


def _missing_calibration(tree: _Tree, label: str, name: str, source: Path) -> str:
    folder = class_folder(tree.base, label)
    message = f"{name}.npy of the {folder.name} is missing; it was looked for anywhere below {source / folder}"
    others = [entry for other in CLASSES if other != label for entry in tree.calibration[other, name]]
    if not others:
        return f"{message}, and the other class has none either: give a tree with the sensor's angles."
    return (
        f"{message}: if the same sensor saw both classes, copy {others[0].name} to {folder / name}.npy in it "
        "(unpack a .zip first)."
    )


def _pair_up(tree: _Tree, splits: dict[tuple[str, int], str] | None, report: Report) -> list[Pair]:
    """Pairs for which there are files of both kinds, and that the manifest, where there is one, lists."""
    pairs = []
    for label in CLASSES:
        files = {kind: tree.files[label, kind] for kind in KINDS}
        both = files["rgb"].keys() & files["lidar"].keys()
        for kind, candidates in files.items():
            _skip_all((candidates[index] for index in candidates.keys() - both), _UNPAIRED[kind], report)
        for index in both:
            if splits is None:
                pairs.append(Pair(index, label))
            elif (label, index) in splits:
                pairs.append(Pair(index, label, splits[label, index]))
            else:
                _skip_all((files[kind][index] for kind in KINDS), f"not listed in {MANIFEST}", report)
    for label, index in splits or ():
        for kind, path in (("rgb", rgb_path), ("lidar", lidar_path)):
            if index not in tree.files[label, kind]:
                report.skip(path(Path(tree.base), Pair(index, label)).as_posix(), f"listed in {MANIFEST} but missing")
    return sorted(pairs)


def _copy_pairs(tree: _Tree, root: Path, splits: dict[tuple[str, int], str] | None, report: Report) -> list[Pair]:
    """Copy every pair that is listed and whose two files are good; report the other files."""
    targets = {"rgb": (rgb_path, decode_rgb), "lidar": (lidar_path, decode_range)}
    for label in CLASSES:
        for kind in KINDS:
            (class_folder(root, label) / kind).mkdir(parents=True, exist_ok=True)
    pairs = []
    for pair in track(_pair_up(tree, splits, report), "checking and copying", unit="pair"):
        good = {
            kind: _choose(tree.files[pair.label, kind][pair.index], decode, report)
            for kind, (_, decode) in targets.items()
        }
        if all(good.values()):
            for kind, (path, _) in targets.items():
                path(root, pair).write_bytes(good[kind].data)
            pairs.append(pair)
        else:
            for kind, item in good.items():
                if item is not None:
                    report.skip(item.good[0].name, _PARTNER_UNUSABLE[kind])
    return pairs


def _skip_all(groups: Iterable[list[Entry]], reason: str, report: Report) -> None:
    for group in groups:
        for entry in group:
            report.skip(entry.name, reason)


def _choose(candidates: list[Entry], decode: Callable[[bytes], np.ndarray], report: Report) -> _Found | None:
    """The good file for one index; None, and the reason in the report, when there is none or when several differ."""
    found = _decode_all(candidates, decode)
    for entry, reason in found.bad:
        report.skip(entry.name, reason)
    if found.differ:
        for entry in found.good:
            report.skip(entry.name, "two different files for one index")
        return None
    for entry in found.good[1:]:
        report.skip(entry.name, _COPY)
    return found if found.good else None


def _decode_all(candidates: list[Entry], decode: Callable[[bytes], np.ndarray]) -> _Found:
    found = _Found()
    for entry in candidates:
        try:
            data = entry.read()
            array = decode(data)
        except Unusable as error:
            found.bad.append((entry, str(error)))
            continue
        if found.first is None:
            found.data, found.first = data, array
        found.good.append(entry)
        found.differ |= not np.array_equal(array, found.first)
    return found
