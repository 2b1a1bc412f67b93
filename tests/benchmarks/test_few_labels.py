"""docs/few-labels.md, and what trains the classifiers on it."""

import json

import numpy as np
import pytest
import torch
import yaml
from clone import ROOT, merge
from synthetic import make_packed

from cilp.report.claims import Figures, claims_of, holds
from cilp.report.docs import insert_tables
from cilp.report.significance import significance_json
from cilp.training.inputs import load_split

CPU = torch.device("cpu")


@pytest.fixture
def few_labels(monkeypatch):
    monkeypatch.chdir(ROOT)
    import few_labels

    return few_labels


@pytest.fixture
def trained(few_labels, monkeypatch, tmp_path):
    """Of one seed, on made-up scenes, of which at most four have labels."""
    import transfer_networks

    monkeypatch.setattr(few_labels, "COUNTS", (2, 4))
    monkeypatch.setattr(few_labels, "SOME_COUNTS", (2,))
    monkeypatch.chdir(tmp_path)
    few = {"epochs": 1, "batch_size": 8}
    change = {
        "cilp": {"batch_size": 8, "validate_every": 1, "steps": 3}, "random_size": {"cilp_steps": 2},
        "lidar": few, "projector": few, "rgb2lidar": few, "data_efficiency": {"least_steps": 2, "head": few},
    }  # fmt: skip
    data, others = make_packed(4, 2, 4), [make_packed(12, 4, 4, seed=seed) for seed in (1, 2, 3)]
    splits = (load_split(data, split, CPU) for split in ("train", "val", "test"))
    settings = merge(yaml.safe_load((ROOT / "params.yaml").read_text()), change)
    return few_labels.Trained(51, settings, transfer_networks.Scenes(data, *others, *splits))


def test_every_classifier_sees_labels_of_as_many_scenes_as_it_is_called_after(few_labels, trained):
    names = [
        f"{kind}/{count}"
        for kind in few_labels.KINDS
        for count in (2, 4)
        if count == 2 or kind not in (few_labels.CHOSEN, few_labels.LONGER)
    ]
    said = {name: trained.logits(name) for name in names}
    # weights chosen on other scenes may be the same after all
    apart = [tuple(logits.tolist()) for name, logits in said.items() if not name.startswith(few_labels.CHOSEN)]
    assert len(set(apart)) == len(apart)
    assert {len(logits) for logits in said.values()} == {8}
    rows, splits = trained.labelled(2)
    assert [len(split) for split in splits] == [4, 2] and set(rows["train"].tolist()) < set(range(8))
    kept = {
        path.parent.relative_to(trained.networks.folder).as_posix() for path in trained.networks.folder.rglob("*.pt")
    }
    assert kept == {"cilp/more", "cilp/more_matched", "image_supervised", "lidar/reference"}  # with labels of all


def test_the_size_rule_is_fitted_to_few_scenes_of_the_default_ones(few_labels, trained):
    reached = few_labels.size_rule(make_packed(4, 2, 4), [51, 52])
    assert list(reached) == ["2"] and list(reached["2"]) == ["51", "52"]
    assert all(0 <= share <= 1 for share in reached["2"].values())


def test_the_page_shows_the_record_and_says_no_more(few_labels):
    found = json.loads(few_labels.RESULTS.read_text(encoding="utf-8"))
    page = few_labels.PAGE.read_text(encoding="utf-8")
    assert insert_tables(page, few_labels.tables(found)) == page
    assert {tuple(runs) for runs in found["right"].values()} == {tuple(map(str, few_labels.SEEDS))}
    figures, accuracy = Figures(ROOT / "metrics"), few_labels.complete(found)
    lists = (few_labels.COMPARED, few_labels.COMPARED_LATER, few_labels.COMPARED_LONGER)
    compared = [comparison for asked in lists for comparison in few_labels.compared(found, asked)]
    assert len(compared) == sum(map(len, lists)) and len(accuracy) == len(few_labels.CLASSIFIERS)
    figures.files["significance"] = significance_json({}, compared, found["significance"]["confidence"])
    figures.files["mean"] = {name: shares.mean() for name, shares in accuracy.items()}
    figures.files["size_rule"] = {
        count: {"least": min(runs.values()), "mean": np.mean(list(runs.values()))}
        for count, runs in found["size_rule"].items()
    }
    for path in (few_labels.PAGE, ROOT / "README.md", ROOT / "docs/results.md"):
        claims = claims_of(path.read_text(encoding="utf-8"), "few labels")
        assert claims or path != few_labels.PAGE
        assert [claim for claim in claims if not holds(claim, figures)] == []
