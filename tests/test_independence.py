"""What a result depends on neither directly nor through others: the held-out test set, and the other seeds."""

import csv
import shutil
from dataclasses import replace

import pytest
from clone import run, set_params
from tiny import SEEDS

from cilp import packed
from cilp.pipeline import record

pytestmark = pytest.mark.timeout(420)

SEED = SEEDS[-1]
TRAINED = {
    "fusion/late-maxpool": "train_fusion@late-maxpool",
    "fusion/late-maxpool-dropout": "train_modality_dropout@late",
    "lidar": "train_lidar",
    "cilp": "pretrain_cilp",
    "image_supervised": "train_image_supervised",
    "image_distilled": "train_image_distilled",
    "projector": "train_projector",
    "rgb2lidar": "train_rgb2lidar",
}
"""Models, and the stage that trains each, in the order in which one reads another."""


def with_another_test_set(data):
    """Other images, range images and labels in as many rows."""
    test = data.rows("test")
    changed = {name: getattr(data, name).clone() for name in ("rgb", "range", "label")}
    changed["rgb"][test, ..., :3] = 255 - changed["rgb"][test, ..., :3]
    changed["range"][test] = changed["range"][test].transpose(1, 2) / 2
    changed["label"][test] = 1 - changed["label"][test]
    return replace(data, **changed)


@pytest.fixture(scope="module")
def again(project, warm, tmp_path_factory):
    """A copy of the project in which all that trains has run anew, before another test set and on one of its seeds."""
    ignored = shutil.ignore_patterns(".git", ".dvc", "wandb")
    copy = shutil.copytree(project, tmp_path_factory.mktemp("again") / "copy", ignore=ignored)
    for name in ("models", "metrics", "plots", "data/embeddings"):
        shutil.rmtree(copy / name)
    set_params(copy, {"seeds": [SEED]})
    packed.save(with_another_test_set(packed.load(project / "data/packed.pt")), copy / "data/packed.pt")
    stages = record.parse((project / "dvc.lock").read_text())
    order = list(TRAINED.values())
    for name in (*order[:-2], "embed", *order[-2:]):
        run(copy, "sh", "-c", stages[name]["cmd"], WANDB_MODE="disabled", **warm)
    return copy


def rows(path):
    """Of the seed, without its number."""
    with open(path, newline="") as file:
        return [row for row in csv.DictReader(file) if row.pop("seed") == str(SEED)]


@pytest.mark.parametrize("model", TRAINED)
def test_neither_the_test_set_nor_another_seed_changes_a_byte_of_what_is_trained(project, again, model):
    """Weights, the curves that chose them, and each figure of them but those on the test set, which are others."""
    before, after = (root / f"models/{model}/seed-{SEED}.pt" for root in (project, again))
    assert before.read_bytes() == after.read_bytes()
    assert rows(project / f"plots/{model}.csv") == rows(again / f"plots/{model}.csv") != []
    (before,), (after,) = (rows(root / f"metrics/{model}.csv") for root in (project, again))
    differ = {name for name in before | after if before.get(name) != after.get(name)}
    assert "test_loss" in differ and all(name.startswith("test_") for name in differ)
    assert any(name.startswith("valid_") for name in before)


def test_the_other_seed_was_not_there(again):
    assert [path for path in again.rglob(f"*seed-{SEEDS[0]}*")] == []
