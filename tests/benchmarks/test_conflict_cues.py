"""docs/cilp-course.md says of sensors that disagree in the shape alone what was found."""

import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from clone import ROOT
from synthetic import make_packed

from cilp.report.claims import Figures, claims_of, holds
from cilp.report.docs import insert_tables
from cilp.training.inputs import load_split

CPU = torch.device("cpu")
PLACES = {"accuracy": "all", "cube_accuracy": "cubes", "sphere_accuracy": "spheres"}


@pytest.fixture
def conflict(monkeypatch):
    monkeypatch.chdir(ROOT)
    import conflict_cues

    return conflict_cues


@pytest.fixture
def found(conflict):
    return json.loads(conflict.RESULTS.read_text(encoding="utf-8"))


def test_each_image_comes_with_the_view_of_its_twin_and_keeps_its_class(conflict):
    own = load_split(make_packed(), "test", CPU)
    other = conflict.exchanged(own)
    assert torch.equal(other.rgb, own.rgb) and torch.equal(other.label, own.label)
    for row, scene in enumerate(own.scene):
        (twin,) = ((own.scene == scene) & (own.label != own.label[row])).nonzero()
        assert torch.equal(other.range[row], own.range[twin.item()])
    with pytest.raises(AssertionError):
        conflict.exchanged(replace(own, scene=own.scene.roll(1)))


def test_the_networks_are_those_of_the_other_table(conflict, found):
    """Asked about the same scenes, of one size a class, they say the same."""
    for cues in conflict.ASKED:
        asked = found["records"][cues.name]["goes_by_image"]
        known = json.loads(cues.results.read_text(encoding="utf-8"))["accuracy"]
        assert asked.keys() == known.keys()
        for name, runs in asked.items():
            assert {seed: run[conflict.SIZED]["accuracy"] for seed, run in runs.items()} == {
                seed: run["conflict"] for seed, run in known[name].items()
            }


def test_the_page_shows_the_record_and_says_no_more(conflict, found):
    page = conflict.PAGE.read_text(encoding="utf-8")
    assert insert_tables(page, {"conflict_cues": conflict.table(found)}) == page
    figures = Figures(ROOT / "metrics")
    for scenes, called in ((conflict.SIZED, "sized"), (conflict.EQUAL, "equal"), (conflict.AGREE, "agree")):
        figures.files[called] = {
            name: {place: statistics.fmean(run[scenes][of] for run in runs) for of, place in PLACES.items()}
            for name, runs in conflict.runs_of(found).items()
        }
        figures.files[f"lean_{called}"] = {
            name: of["cubes"] - of["spheres"] for name, of in figures.files[called].items()
        }
    figures.files["moved"] = {
        name: abs(of["all"] - figures.files["equal"][name]["all"]) for name, of in figures.files["sized"].items()
    }
    for path in (conflict.PAGE, Path("README.md"), Path("docs/results.md")):
        claims = claims_of(path.read_text(encoding="utf-8"), "conflict cues")
        assert claims or path != conflict.PAGE
        assert [claim for claim in claims if not holds(claim, figures)] == []
