"""Which objects train, validate and test: drawn by scene, so that cube i and sphere i never meet across two splits."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from cilp.errors import UserError
from cilp.raw.layout import CLASSES, SPLITS, Pair

CHOICES = ("given", "drawn")
Scenes = dict[int, list[Pair]]


@dataclass(frozen=True)
class SplitParams:
    """The params of the section ``data`` that the draw depends on; ranges are checked by ``draw_splits``."""

    subset: int
    test: int
    valid_fraction: float
    splits: str
    """``given``: those that the source brings along, if any. ``drawn``: drawn by scene whatever it brings."""
    split_seed: int

    def __post_init__(self) -> None:
        if self.splits not in CHOICES:
            raise ValueError(f"splits is {self.splits!r}; legal values: {', '.join(CHOICES)}.")


def draw_splits(
    pairs: Iterable[Pair], subset: int, test: int, valid_fraction: float, seed: int, splits: str = "given"
) -> list[Pair]:
    """Assign objects to splits.

    Only scenes of which both classes are present take part, so that there are as many cubes as spheres. Splits that
    the pairs bring along are honoured as they are, whatever ``subset`` and ``valid_fraction`` say, even where a cube
    and its sphere are in different ones. Where those lack a test split, ``test`` scenes are drawn from the ones
    without any, or, if these are too few, taken out of the training split.

    Args:
        pairs: what the source offers, in any order; the order has no influence on the draw.
        subset: scenes for training and validation together.
        test: scenes held out.
        valid_fraction: share of ``subset`` that validates, in (0, 1), rounded to whole scenes.
        seed: which scenes are drawn, and into which of the splits.
        splits: ``given`` or ``drawn``, whether to look at the splits that the pairs bring along.

    Returns:
        The objects that are in a split, with it, ordered by index and class; others are left out.

    Raises:
        UserError: too few scenes, or sizes that leave a split empty.
    """
    if seed < 0:
        raise UserError(f"data.split_seed must be 0 or more; got {seed}.")
    if test < 1:
        raise UserError(f"data.test must be at least 1, since every model is tested on held-out scenes; got {test}.")
    scenes = _complete_scenes(pairs)
    rng = np.random.default_rng(seed)
    if splits == "given" and any(pair.split for both in scenes.values() for pair in both):
        return _ordered(_honour(scenes, test, rng))

    if not 0 <= valid_fraction <= 1:
        raise UserError(f"data.valid_fraction must lie between 0 and 1; got {valid_fraction}.")
    valid = round(subset * valid_fraction)
    if not 0 < valid < subset:
        raise UserError(
            f"data.subset {subset} with data.valid_fraction {valid_fraction} gives {subset - valid} scenes to train "
            f"and {valid} to validate; both need at least one."
        )
    if len(scenes) < subset + test:
        raise UserError(
            f"data.subset {subset} and data.test {test} need {subset + test} scenes with both a cube and a sphere, and "
            f"data/raw has {len(scenes)}; lower the two or acquire more scenes (data.scenes when simulating)."
        )
    drawn = rng.permutation(sorted(scenes)).tolist()
    sizes = {"val": valid, "train": subset - valid, "test": test}
    names = [split for split, size in sizes.items() for _ in range(size)]
    return _ordered({index: _moved(scenes[index], split) for index, split in zip(drawn, names, strict=False)})


def cut_scenes(pairs: Iterable[Pair]) -> list[int]:
    """Scenes whose cube and sphere are in different splits: what one tells is known when the other is asked for."""
    splits: dict[int, set[str]] = {}
    for pair in pairs:
        splits.setdefault(pair.index, set()).add(pair.split)
    return sorted(index for index, names in splits.items() if len(names) > 1)


def _complete_scenes(pairs: Iterable[Pair]) -> Scenes:
    """The objects of each scene of which both classes are present, by index."""
    scenes: Scenes = {}
    for pair in pairs:
        scenes.setdefault(pair.index, []).append(pair)
    return {index: both for index, both in sorted(scenes.items()) if len(both) == len(CLASSES)}


def _honour(scenes: Scenes, test: int, rng: np.random.Generator) -> Scenes:
    """The splits as given. An object without joins its twin; a test split is drawn if it is missing."""
    given = {
        index: [replace(pair, split=pair.split or other.split) for pair, other in zip(both, both[::-1], strict=True)]
        for index, both in scenes.items()
        if any(pair.split for pair in both)
    }
    names = {pair.split for both in given.values() for pair in both}
    missing = [split for split in SPLITS if split not in names]
    if set(missing) - {"test"}:
        raise UserError(
            f"The source gives splits but leaves {' and '.join(missing)} empty; set data.splits to drawn to draw them "
            "anew, or complete them in its manifest.csv and run `dvc repro --force acquire`."
        )
    if missing:
        spare = [index for index in scenes if index not in given]
        if len(spare) < test:
            spare = [index for index, both in given.items() if {pair.split for pair in both} == {"train"}]
            if len(spare) <= test:
                raise UserError(
                    f"The source gives no test split, and data.test asks for {test} scenes where {len(spare)} train; "
                    "lower data.test, or set data.splits to drawn."
                )
        held_out = rng.permutation(spare)[:test].tolist()
        given |= {index: _moved(scenes[index], "test") for index in held_out}
    return given


def _moved(both: list[Pair], split: str) -> list[Pair]:
    return [replace(pair, split=split) for pair in both]


def _ordered(scenes: Scenes) -> list[Pair]:
    return sorted(
        (pair for both in scenes.values() for pair in both), key=lambda pair: (pair.index, CLASSES.index(pair.label))
    )
