"""docs/transfer.md, and what trains the classifiers on it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from bits import weights
from clone import ROOT, merge
from synthetic import make_packed

from cilp.classifiers import random_size
from cilp.report.claims import Figures, claims_of, holds
from cilp.report.docs import insert_tables
from cilp.report.significance import significance_json
from cilp.training.inputs import load_split

CPU = torch.device("cpu")
SETTINGS = yaml.safe_load((ROOT / "params.yaml").read_text())


@pytest.fixture
def seeds(monkeypatch):
    monkeypatch.chdir(ROOT)
    import transfer_seeds

    return transfer_seeds


@pytest.fixture
def networks(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    import transfer_networks

    return transfer_networks


@pytest.fixture
def scenes(networks):
    """Made up; those without labels and those with matched twins are others."""
    data, others = make_packed(), [make_packed(12, 4, 4, seed=seed) for seed in (1, 2, 3)]
    splits = {split: load_split(data, split, CPU) for split in ("train", "val", "test")}
    return networks.Scenes(data, *others, splits["train"], splits["val"], splits["test"])


@pytest.fixture
def settings():
    few = {"epochs": 1, "batch_size": 8}
    change = {
        "cilp": {"batch_size": 8, "validate_every": 1, "steps": 3}, "random_size": {"cilp_steps": 2},
        "lidar": few, "projector": few, "rgb2lidar": few,
    }  # fmt: skip
    return merge(yaml.safe_load((ROOT / "params.yaml").read_text()), change)


def test_with_more_pairs_it_sees_as_many_as_on_the_default_scenes():
    data, sizes = SETTINGS["data"], random_size.sizes(SETTINGS)
    validated, held_out = round(data["subset"] * data["valid_fraction"]), data["test"]
    scenes = data["scenes"] + data["unlabelled"] - validated - held_out
    assert SETTINGS["random_size"]["pretraining"]["unlabelled"] + sizes.train == scenes == 8799


def test_each_pretraining_sees_its_pairs_and_no_label(networks, scenes):
    ways = networks.AS_THERE, networks.MATCHED, *networks.MANY
    pairs = {way: scenes.pairs(way, mirror=True) for way in ways}
    labelled = scenes.labelled.rows("train")
    assert torch.equal(pairs[""].range, scenes.labelled.range[labelled])
    assert len(pairs["more"]) == len(pairs[""]) + len(scenes.unlabelled.scene)
    assert torch.equal(pairs["matched"].range, scenes.matched.range[scenes.matched.rows("train")])
    assert all(torch.equal(pairs[way].range, pairs["more"].range) for way in ("more_apart", "more_resized"))
    both = torch.cat([pairs["matched"].range, scenes.unlabelled_matched.range])
    assert torch.equal(pairs["more_matched"].range, both)
    assert not any(hasattr(of, "label") for of in pairs.values())


def test_every_classifier_is_trained_once_and_kept(networks, seeds, scenes, settings, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    said = {name: networks.Networks(51, settings, scenes).logits(name) for name in seeds.CLASSIFIERS}
    assert len({tuple(logits.tolist()) for logits in said.values()}) == len(said)
    capsys.readouterr()
    again = {name: networks.Networks(51, settings, scenes).logits(name) for name in seeds.CLASSIFIERS}
    assert all(torch.equal(said[name], again[name]) for name in said)
    trained = {line.split(",")[0] for line in capsys.readouterr().out.splitlines()}
    assert trained == {"projector", "RGB-to-LiDAR"}  # seconds, on frozen embeddings
    other = {**settings, "image_classifier": {**settings["image_classifier"], "lr": 0.1}}
    changed = {name for name in said if not torch.equal(networks.Networks(51, other, scenes).logits(name), said[name])}
    assert changed == {name for name in said if "course" in name or name.startswith("image")}


def test_twins_meet_in_the_batches_of_every_pretraining_but_one(networks, scenes, settings):
    assert [way for way, recipe in networks.Networks(51, settings, scenes).cilp.items() if not recipe.twins] == [
        networks.APART
    ]


def test_the_better_lidar_classifier_takes_the_course_of_the_others(networks, scenes, settings):
    """Its steps and rates are those of the image classifiers, and mirroring is of what it sees."""

    def trained(**change):
        return weights(networks.Networks(51, merge(settings, {"cilp": change}), scenes).lidar(course=True))

    plain = trained()
    assert not torch.equal(plain, trained(mirror=False))
    assert torch.equal(plain, trained(mirror=True, permute_colours=False))


def test_a_student_of_another_teacher_is_another(networks, scenes, settings):
    first = networks.Networks(51, settings, scenes).logits("image_distilled")
    other = merge(settings, {"lidar": {"lr": 0.1}})
    assert not torch.equal(first, networks.Networks(51, other, scenes).logits("image_distilled"))
    moved = replace(scenes, valid=replace(scenes.valid, range=scenes.valid.range + 1))
    assert networks.Networks(51, settings, moved).folder != networks.Networks(51, settings, scenes).folder


def test_by_distance_no_label_of_an_image_is_seen(networks, scenes, settings, monkeypatch):
    """The LiDAR classifier knows labels; here nothing has trained it."""
    monkeypatch.setattr(networks.Networks, "lidar", lambda self, course: self.untrained())
    train, valid = (replace(split, label=1 - split.label) for split in (scenes.train, scenes.valid))
    told = [scenes, replace(scenes, train=train, valid=valid)]
    for name, same in (("rgb2lidar/more_matched/distance", True), ("rgb2lidar/more_matched", False)):
        one, other = (networks.Networks(51, settings, them).logits(name) for them in told)
        assert torch.equal(one, other) == same


def test_the_page_shows_the_record_and_says_no_more(seeds):
    found = json.loads(seeds.RESULTS.read_text(encoding="utf-8"))
    page = seeds.PAGE.read_text(encoding="utf-8")
    assert insert_tables(page, seeds.tables(found)) == page
    assert {tuple(runs) for runs in found["right"].values()} == {tuple(map(str, seeds.SEEDS))}
    figures = Figures(ROOT / "metrics")
    accuracy, lists = seeds.complete(found), (seeds.COMPARED, seeds.COMPARED_LATER, seeds.COMPARED_BRIDGE)
    compared = [comparison for asked in lists for comparison in seeds.compared(found, asked)]
    assert len(compared) == sum(map(len, lists)) and sum(map(len, seeds.series(found).values())) == len(accuracy)
    figures.files["significance"] = significance_json({}, compared, found["significance"]["confidence"])
    figures.files["mean"] = {name: shares.mean() for name, shares in accuracy.items()}
    figures.files["seed"] = {
        name: dict(zip(map(str, seeds.SEEDS), shares.mean(axis=1), strict=True)) for name, shares in accuracy.items()
    }
    twins = json.loads(seeds.TWINS.read_text(encoding="utf-8"))["twin_accuracy"]
    figures.files["lost"] = {
        way or "as_there": np.mean([run[""] - run["matched"] for run in runs.values()]) for way, runs in twins.items()
    }
    figures.files["twins"] = {
        way: {kind: np.mean([run[kind] for run in runs.values()]) for kind in ("", "matched")}
        for way, runs in twins.items()
    }
    for path in (seeds.PAGE, ROOT / "README.md", ROOT / "docs/results.md"):
        claims = claims_of(path.read_text(encoding="utf-8"), "transfer")
        assert claims or path != seeds.PAGE
        assert [claim for claim in claims if not holds(claim, figures)] == []
