"""docs/random-sizes.md shows what `joint` learns of each sensor as it was measured (claims: ``joint parts``)."""

import json
import math
import shutil
import statistics
from pathlib import Path

import pytest
import torch
import yaml
from clone import ROOT, merge
from synthetic import make_packed

from cilp import packed
from cilp.errors import UserError
from cilp.report.claims import Figures, claims_of, holds
from cilp.report.docs import insert_tables
from cilp.training.classifier import logits_of, score
from cilp.training.inputs import load_split


@pytest.fixture
def joint_parts():
    import joint_parts

    return joint_parts


def page_of(joint_parts):
    return joint_parts.RECORDS["random_size"].page


@pytest.fixture
def project(joint_parts, tmp_path, monkeypatch):
    """A project with made-up data, two epochs and one seed."""
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    few = {"fusion": {part: {"epochs": 2} for part in ("rgb", "lidar")}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(merge(settings, {**few, "device": "cpu"})))
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / page_of(joint_parts), tmp_path / page_of(joint_parts))
    packed.save(make_packed(), tmp_path / "data/random_size.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["joint_parts.py"])
    monkeypatch.setattr(joint_parts, "SEEDS", [51])
    monkeypatch.setattr("more_seeds_networks.TEST_SCENES", 4)
    return tmp_path


def test_its_table_is_that_of_the_runs(joint_parts):
    page, found = (ROOT / page_of(joint_parts)).read_text(), json.loads((ROOT / joint_parts.RESULTS).read_text())
    assert insert_tables(page, {"joint_parts": joint_parts.table(found["runs"])}) == page
    assert list(found["runs"]) == [str(seed) for seed in joint_parts.SEEDS]


@pytest.mark.parametrize("page", ["docs/random-sizes.md", "docs/results.md"])
def test_what_is_said_of_the_parts_follows_from_them(joint_parts, page):
    """Held against test accuracies by seed, their mean, and the first epoch whose validation accuracy is above 0.8."""
    runs = json.loads((ROOT / joint_parts.RESULTS).read_text())["runs"]
    parts = {name: list(of) for name, of in runs["51"].items()}

    def by_part(figure):
        return {name: {part: figure(name, part) for part in of} for name, of in parts.items()}

    def epoch(valid):
        return next((number for number, accuracy in enumerate(valid, 1) if accuracy > 0.8), math.inf)

    figures = Figures(ROOT / "metrics")
    figures.files["seed"] = by_part(lambda name, part: {seed: run[name][part]["test"] for seed, run in runs.items()})
    figures.files["mean"] = by_part(lambda name, part: statistics.fmean(figures["seed"][name][part].values()))
    figures.files["epoch"] = by_part(
        lambda name, part: {seed: epoch(run[name][part]["valid"]) for seed, run in runs.items()}
    )
    claims = claims_of((ROOT / page).read_text(), "joint parts")
    assert claims and [claim for claim in claims if not holds(claim, figures)] == []


def test_its_networks_are_those_of_the_page(joint_parts):
    found = json.loads((ROOT / joint_parts.RESULTS).read_text())["runs"]
    right = json.loads((ROOT / joint_parts.RECORDS["random_size"].results).read_text())["right"]
    for seed, runs in found.items():
        for name, part in (("joint", "whole"), ("rgb", "rgb"), ("lidar", "lidar")):
            digits = right[f"fusion/{name}-maxpool"][seed]
            assert runs[name][part]["test"] == sum(map(int, digits)) / (2 * len(digits)), (name, seed)


def test_every_part_is_asked_after_each_epoch_and_the_best_weights_at_the_end(joint_parts, project, capsys):
    joint_parts.main()
    found = json.loads(joint_parts.RESULTS.read_text())["runs"]["51"]
    assert {name: list(parts) for name, parts in found.items()} == {
        "joint": ["whole", "rgb", "lidar"], "rgb": ["rgb"], "lidar": ["lidar"]
    }  # fmt: skip
    assert {len(it["valid"]) for parts in found.values() for it in parts.values()} == {2}
    assert f"valid accuracy {found['joint']['whole']['valid'][-1]:.4f}" in capsys.readouterr().out
    assert f"| 51 | {found['joint']['whole']['test']:.4f} |" in page_of(joint_parts).read_text()
    assert joint_parts.FIGURE.is_file()
    joint_parts.main()
    assert "joint" not in capsys.readouterr().out  # nothing is trained twice


def test_what_was_measured_of_other_params_is_not_mixed_with_this(joint_parts, project):
    joint_parts.main()
    found = json.loads(joint_parts.RESULTS.read_text())
    joint_parts.RESULTS.write_text(json.dumps({**found, "device": "another"}))
    with pytest.raises(UserError, match=r"joint-parts.json was made with another \w+; delete it to begin anew"):
        joint_parts.main()


def test_to_be_asked_does_not_change_what_is_learned(joint_parts, project):
    settings = yaml.safe_load(Path("params.yaml").read_text())
    data = packed.load(joint_parts.RANDOM_SIZE)
    splits = [load_split(data, split, torch.device("cpu")) for split in packed.SPLITS]
    import more_seeds_networks

    model = more_seeds_networks.train_here("joint", "maxpool", 51, settings, torch.device("cpu"))
    test = splits[-1]
    whole = joint_parts.followed("joint", 51, settings, splits)["whole"]
    assert whole["test"] == score(logits_of(model, test), test.label)[1]


def test_a_part_is_judged_at_its_median_since_the_other_decides_its_threshold(joint_parts):
    label = torch.tensor([0.0, 1, 0, 1])
    logits = torch.tensor([5.0, 7, 6, 8])
    assert joint_parts.right(logits, label, at_median=False) == 0.5
    assert joint_parts.right(logits, label, at_median=True) == 1.0
    assert joint_parts.right(torch.full((4,), 3.0), label, at_median=True) == 0.5  # says the same of all
