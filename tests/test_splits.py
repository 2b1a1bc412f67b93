"""Which scenes train, validate and are held out."""

import random
from collections import Counter

import pytest

from cilp.errors import UserError
from cilp.raw.layout import CLASSES, Pair
from cilp.subset.splits import cut_scenes, draw_splits

SIZES = {"subset": 5, "test": 3, "valid_fraction": 0.4, "seed": 51}


def twins(scenes, split=""):
    return [Pair(scene, label, split) for scene in scenes for label in CLASSES]


def by_scene(pairs):
    """The split of every scene, of which both objects must be there and share it."""
    splits = {pair.index: pair.split for pair in pairs}
    assert pairs == [Pair(scene, label, split) for scene, split in splits.items() for label in CLASSES]
    return splits


def test_splits_have_the_sizes_asked_for_and_do_not_overlap():
    splits = by_scene(draw_splits(twins(range(50)), subset=30, test=10, valid_fraction=0.2, seed=51))
    assert Counter(splits.values()) == {"train": 24, "val": 6, "test": 10}
    assert list(splits) == sorted(splits) and set(splits) < set(range(50))


def test_splits_depend_on_the_seed_and_not_on_the_order_of_pairs():
    pairs = twins(range(50))
    shuffled = random.Random(0).sample(pairs, len(pairs))
    sizes = {"subset": 30, "test": 10, "valid_fraction": 0.2}
    assert draw_splits(pairs, **sizes, seed=51) == draw_splits(shuffled, **sizes, seed=51)
    assert draw_splits(pairs, **sizes, seed=51) != draw_splits(pairs, **sizes, seed=52)


def test_only_scenes_with_both_classes_are_drawn():
    lonely = [Pair(scene, CLASSES[scene % 2]) for scene in range(100, 120)]
    splits = by_scene(draw_splits(lonely + twins(range(8)), **SIZES))
    assert set(splits) == set(range(8))


def test_given_splits_are_honoured_whatever_the_sizes_say():
    pairs = twins(range(4), "train") + twins([4, 5], "val") + twins([6], "test") + twins([7, 8])
    given = draw_splits(pairs, **SIZES)
    assert by_scene(given) == dict(zip(range(7), ["train"] * 4 + ["val"] * 2 + ["test"], strict=True))
    assert not cut_scenes(given)
    one_sided = [Pair(0, "cube", "train"), Pair(0, "sphere"), *twins([1], "val"), *twins([2], "test")]
    assert by_scene(draw_splits(one_sided, **SIZES)) == {0: "train", 1: "val", 2: "test"}


def test_given_splits_may_part_a_cube_from_its_sphere_which_is_told():
    cut = [Pair(7, "cube", "train"), Pair(7, "sphere", "val")]
    pairs = [*twins(range(4), "train"), *twins([5], "test"), *cut]
    assert draw_splits(pairs[::-1], **SIZES) == sorted(pairs)
    assert cut_scenes(draw_splits(pairs, **SIZES)) == [7]


def test_given_splits_can_be_drawn_anew():
    pairs = [Pair(scene, label, ("train", "val")[label == "cube"]) for scene in range(8) for label in CLASSES]
    assert draw_splits(pairs, **SIZES, splits="drawn") == draw_splits(twins(range(8)), **SIZES)


def test_a_test_split_is_taken_out_of_training_where_every_scene_is_in_a_split():
    cut = [Pair(7, "cube", "train"), Pair(7, "sphere", "val")]
    splits = draw_splits([*twins(range(6), "train"), *cut], **SIZES)
    held_out = {pair.index for pair in splits if pair.split == "test"}
    assert len(held_out) == SIZES["test"] and held_out < set(range(6))  # never one whose twin was seen in training
    assert [pair for pair in splits if pair.index == 7] == cut
    assert Counter(pair.split for pair in splits) == {"train": 2 * 3 + 1, "val": 1, "test": 2 * 3}


def test_a_missing_test_split_is_drawn_from_scenes_in_no_split():
    pairs = twins(range(4), "train") + twins([4, 5], "val") + twins(range(6, 16))
    splits = by_scene(draw_splits(pairs, **SIZES))
    held_out = {scene for scene, split in splits.items() if split == "test"}
    assert len(held_out) == SIZES["test"] and held_out < set(range(6, 16))
    assert {scene: split for scene, split in splits.items() if split != "test"} == {
        0: "train", 1: "train", 2: "train", 3: "train", 4: "val", 5: "val",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pairs", "sizes", "message"),
    [
        (twins(range(7)), {}, r"need 8 scenes .* has 7"),
        (twins(range(50)), {"valid_fraction": 0.0}, "5 scenes to train and 0 to validate"),
        (twins(range(50)), {"valid_fraction": 1.0}, "0 scenes to train and 5 to validate"),
        (twins(range(50)), {"subset": 1}, "data.subset 1"),
        (twins(range(50)), {"test": 0}, "data.test must be at least 1"),
        (twins(range(50)), {"seed": -1}, "data.split_seed"),
        (twins(range(3), "train") + twins([4], "val") + twins([5, 6]), {}, "asks for 3 scenes where 3 train"),
        (twins(range(4), "train") + twins([5], "test"), {}, "leaves val empty"),
    ],
)
def test_splits_that_cannot_be_drawn_are_refused(pairs, sizes, message):
    with pytest.raises(UserError, match=message):
        draw_splits(pairs, **(SIZES | sizes))
