"""Which scenes train, validate and test: drawn by scene, so that cube i and sphere i never meet across two splits."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cilp.errors import UserError
from cilp.raw.layout import CLASSES, SPLITS, Pair


@dataclass(frozen=True)
class SplitParams:
    """The params of the section ``data`` that the draw depends on; ranges are checked by ``draw_splits``."""

    subset: int
    test: int
    valid_fraction: float
    split_seed: int


def draw_splits(pairs: Iterable[Pair], subset: int, test: int, valid_fraction: float, seed: int) -> dict[int, str]:
    """Assign scenes to splits.

    Only scenes of which both classes are present take part, so every split holds as many cubes as spheres. Splits that
    the pairs bring along are honoured as they are, whatever ``subset`` and ``valid_fraction`` say; where those lack a
    test split, ``test`` scenes are drawn from the ones without any.

    Args:
        pairs: what the source offers, in any order; the order has no influence on the draw.
        subset: scenes for training and validation together.
        test: scenes held out.
        valid_fraction: share of ``subset`` that validates, in (0, 1), rounded to whole scenes.
        seed: which scenes are drawn, and into which of the splits.

    Returns:
        Scene index to ``"train"``, ``"val"`` or ``"test"``, ordered by index; scenes that were not drawn are left out.

    Raises:
        UserError: too few scenes, sizes that leave a split empty, or given splits that cut through a scene.
    """
    if seed < 0:
        raise UserError(f"data.split_seed must be 0 or more; got {seed}.")
    if test < 1:
        raise UserError(f"data.test must be at least 1, since every model is tested on held-out scenes; got {test}.")
    given = _complete_scenes(pairs)
    rng = np.random.default_rng(seed)
    if any(given.values()):
        return _honour(given, test, rng)

    if not 0 <= valid_fraction <= 1:
        raise UserError(f"data.valid_fraction must lie between 0 and 1; got {valid_fraction}.")
    valid = round(subset * valid_fraction)
    if not 0 < valid < subset:
        raise UserError(
            f"data.subset {subset} with data.valid_fraction {valid_fraction} gives {subset - valid} scenes to train "
            f"and {valid} to validate; both need at least one."
        )
    if len(given) < subset + test:
        raise UserError(
            f"data.subset {subset} and data.test {test} need {subset + test} scenes with both a cube and a sphere, and "
            f"data/raw has {len(given)}; lower the two or acquire more scenes (data.scenes when simulating)."
        )
    drawn = rng.permutation(sorted(given)).tolist()
    sizes = {"val": valid, "train": subset - valid, "test": test}
    splits = [split for split, size in sizes.items() for _ in range(size)]
    return dict(sorted(zip(drawn, splits, strict=False)))


def _complete_scenes(pairs: Iterable[Pair]) -> dict[int, str]:
    """Scenes of which both classes are present, by index, with the split they come with ("" for none)."""
    scenes: dict[int, dict[str, str]] = {}
    for pair in pairs:
        scenes.setdefault(pair.index, {})[pair.label] = pair.split
    complete = {}
    for index, by_label in sorted(scenes.items()):
        if len(by_label) < len(CLASSES):
            continue
        splits = set(by_label.values()) - {""}
        if len(splits) > 1:
            raise UserError(
                f"Scene {index} is cut in two: its {' and its '.join(f'{k} is in {v}' for k, v in by_label.items())}; "
                "give both rows of the source's manifest.csv one split, or empty its split column to have splits "
                "drawn, and run `dvc repro --force acquire`."
            )
        complete[index] = splits.pop() if splits else ""
    return complete


def _honour(given: dict[int, str], test: int, rng: np.random.Generator) -> dict[int, str]:
    """The splits as given, with a test split drawn from the scenes that have none if it is missing."""
    scenes = {index: split for index, split in given.items() if split}
    missing = [split for split in SPLITS if split not in scenes.values()]
    if set(missing) - {"test"}:
        raise UserError(
            f"The source gives splits but leaves {' and '.join(missing)} empty; name scenes for it in the split column "
            "of its manifest.csv, or empty that column to have all splits drawn, and run `dvc repro --force acquire`."
        )
    if missing:
        spare = [index for index, split in given.items() if not split]
        if len(spare) < test:
            raise UserError(
                f"The source gives no test split, and {len(spare)} of its scenes are in no split where data.test asks "
                f"for {test}; lower data.test, or add scenes or empty the split column in its manifest.csv and run "
                "`dvc repro --force acquire`."
            )
        scenes |= dict.fromkeys(rng.permutation(spare)[:test].tolist(), "test")
    return dict(sorted(scenes.items()))
