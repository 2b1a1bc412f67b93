"""Packs pairs: decodes every PNG and range image once, into tensors."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from cilp.console.progress import track
from cilp.packed import SPLITS, UNLABELLED, Packed
from cilp.raw import layout
from cilp.raw.decode import decode_file, decode_range, decode_rgb, read_calibration
from cilp.raw.exported import Export
from cilp.raw.layout import CLASSES, Pair
from cilp.sensors import lidar_angles

Calibration = dict[str, tuple[np.ndarray, np.ndarray]]
Views = tuple[np.ndarray, np.ndarray]
"""Image (64, 64, 4) uint8 RGBA, range image (64, 64) float32 in metres."""
Rendering = Callable[[Sequence[int]], AbstractContextManager[Iterable[tuple[str, np.ndarray, np.ndarray]]]]
"""For numbers of scenes, class, image and range image of both objects of each, for as long as the context lasts."""


def pack(export: Export) -> Packed:
    """Decode an export, in its order. RGBA bytes and float32 ranges arrive unchanged.

    Raises:
        UserError: a file is no 64x64 RGBA PNG, or no 64x64 float32 array of ranges.
    """
    records = export.records
    return _packed(
        _decoded([(record.rgb_path, record.lidar_path) for record in records], "subset"),
        kinds=[record.label for record in records],
        labels=[CLASSES.index(record.label) for record in records],
        scenes=[record.scene for record in records],
        splits=[SPLITS.index(record.split) for record in records],
        calibration=export.calibration,
    )


def undrawn(pairs: Iterable[Pair], drawn: set[int], splits: str) -> list[Pair]:
    """Pairs of scenes that are not among those ``drawn``.

    With ``splits: given``, what the source holds out for validation or test stays out, too.
    """
    held_out = ("val", "test") if splits == "given" else ()
    return [pair for pair in pairs if pair.index not in drawn and pair.split not in held_out]


def pack_unlabelled(
    root: Path,
    pairs: Sequence[Pair],
    scenes: Sequence[int] = (),
    rendering: Rendering | None = None,
) -> Packed:
    """Training samples without a label: pairs of a tree in the raw layout, ordered by scene, then further scenes.

    ``rendering`` gives both objects of each of the further ``scenes``, cube first, as seen by the tree's sensors. They
    never touch the disk, which is most of what a scene costs.

    Raises:
        UserError: a file is no 64x64 RGBA PNG, or no 64x64 float32 array of ranges.
    """
    pairs = sorted(pairs, key=lambda pair: (pair.index, CLASSES.index(pair.label)))
    files = [(layout.rgb_path(root, pair), layout.lidar_path(root, pair)) for pair in pairs]
    pairs += [Pair(scene, label) for scene in scenes for label in CLASSES]
    with rendering(scenes) if rendering else nullcontext(()) as rendered:
        return _packed(
            chain(_decoded(files, "acquire"), ((rgb, ranges) for _, rgb, ranges in rendered)),
            kinds=[pair.label for pair in pairs],
            labels=[UNLABELLED] * len(pairs),
            scenes=[pair.index for pair in pairs],
            splits=[SPLITS.index("train")] * len(pairs),
            calibration={label: read_calibration(root, label) for label in CLASSES},
        )


def pack_scenes(splits: Mapping[str, Sequence[int]], rendering: Rendering, labelled: bool = True) -> Packed:
    """The scenes of each split, rendered straight into tensors, with or without their classes; ``rendering`` as above.

    The scenes of a split come in the order of their numbers, the splits in that of ``SPLITS``.
    """
    scenes = [(split, scene) for split in SPLITS for scene in sorted(splits.get(split, ()))]
    samples = [(split, scene, label) for split, scene in scenes for label in CLASSES]
    angles = lidar_angles()
    with rendering([scene for _, scene in scenes]) as rendered:
        return _packed(
            ((rgb, ranges) for _, rgb, ranges in rendered),
            kinds=[label for _, _, label in samples],
            labels=[CLASSES.index(label) if labelled else UNLABELLED for _, _, label in samples],
            scenes=[scene for _, scene, _ in samples],
            splits=[SPLITS.index(split) for split, _, _ in samples],
            calibration={label: (angles, angles) for label in CLASSES},
        )


def _decoded(files: Iterable[tuple[Path, Path]], stage: str) -> Iterator[Views]:
    cure = f"run `dvc repro --force {stage}` to write it anew"
    return ((decode_file(rgb, decode_rgb, cure), decode_file(ranges, decode_range, cure)) for rgb, ranges in files)


def _packed(
    views: Iterable[Views],
    kinds: Sequence[str],
    labels: Sequence[int],
    scenes: Sequence[int],
    splits: Sequence[int],
    calibration: Calibration,
) -> Packed:
    images = np.empty((len(kinds), 64, 64, 4), dtype=np.uint8)
    ranges = np.empty((len(kinds), 64, 64), dtype=np.float32)
    for row, (image, seen) in enumerate(track(views, "pack", total=len(kinds), unit="pairs")):
        images[row], ranges[row] = image, seen
    calibrations, sensor = _distinct_calibrations(calibration)
    return Packed(
        rgb=torch.from_numpy(images),
        range=torch.from_numpy(ranges),
        label=torch.tensor(labels, dtype=torch.uint8),
        scene=torch.tensor(scenes, dtype=torch.int32),
        split=torch.tensor(splits, dtype=torch.uint8),
        sensor=torch.tensor([sensor[kind] for kind in kinds], dtype=torch.uint8),
        azimuth=torch.from_numpy(np.stack([azimuth for azimuth, _ in calibrations])),
        zenith=torch.from_numpy(np.stack([zenith for _, zenith in calibrations])),
    )


def _distinct_calibrations(
    calibration: Calibration,
) -> tuple[list[tuple[np.ndarray, np.ndarray]], dict[str, int]]:
    """The different calibrations, and which of them each class has; one, where both classes saw the same sensor."""
    distinct: list[tuple[np.ndarray, np.ndarray]] = []
    sensor = {}
    for label in CLASSES:
        ours = calibration[label]
        same = [i for i, other in enumerate(distinct) if all(map(np.array_equal, ours, other))]
        if not same:
            distinct.append(ours)
        sensor[label] = same[0] if same else len(distinct) - 1
    return distinct, sensor
