"""The records of runs in ``docs/``: which may be compared, and what is written anew from them alone."""

import importlib
import json
import shutil
import sys
from pathlib import Path

import pytest
from clone import ROOT

from cilp.errors import UserError


@pytest.fixture
def records():
    import run_records

    return run_records


def test_networks_are_compared_on_the_same_seeds_not_on_as_many(records):
    found = {"right": {"a": {"51": "2", "52": "0"}, "b": {"52": "1", "51": "2"}, "c": {"51": "2", "53": "1"}, "d": {}}}
    assert {name: of.tolist() for name, of in records.complete(found).items()} == {"a": [[1], [0]], "b": [[1], [0.5]]}


@pytest.mark.parametrize(
    "change",
    [{"data": {"simulate": {"seed": 1}}}, {"random_size": {"simulate": "other"}}, {"test_scenes": 9},
     {"added_to_seed": {"tested": 1}}],
)  # fmt: skip
def test_records_that_were_tested_on_other_scenes_are_not_held_against_each_other(records, change):
    one = {"data": {"simulate": {"seed": 51}, "subset": 8}, "random_size": {"simulate": "wide"}, "test_scenes": 4}
    records.check_same_scenes(one, {**one, "added_to_seed": {"trained": 2}, "data": {"simulate": {"seed": 51}}})
    with pytest.raises(UserError, match="tested on different scenes"):
        records.check_same_scenes(one, {**one, **change})


def test_on_the_default_scenes_how_they_are_split_counts_too(records):
    with pytest.raises(UserError, match="tested on different scenes"):
        records.check_same_scenes({"data": {"split_seed": 51}}, {"data": {"split_seed": 52}})


@pytest.mark.parametrize("name", ["more_seeds", "course_cues", "joint_parts", "transfer_seeds", "few_labels"])
def test_tables_are_written_anew_where_there_is_nothing_but_the_records(name, tmp_path, monkeypatch):
    """On any machine, without data, networks or params: nothing is trained, and the pages stay as they are."""
    (tmp_path / "docs").mkdir()
    for path in [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*.json")]:
        shutil.copy(path, tmp_path / "docs")
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    monkeypatch.setattr(module, "draw", lambda *_: None, raising=False)
    written = []
    monkeypatch.setattr(module, "write_text", lambda path, text: written.append((path, text)))
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--tables"])
    module.main()
    assert written and all(path.read_text(encoding="utf-8") == text for path, text in written)


def test_the_twin_test_of_other_pretrainings_is_not_shown(tmp_path, monkeypatch):
    import transfer_seeds

    found = json.loads((ROOT / transfer_seeds.RESULTS).read_text(encoding="utf-8"))
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / transfer_seeds.TWINS, tmp_path / "docs")
    monkeypatch.chdir(tmp_path)
    assert "transfer_twins" in transfer_seeds.tables(found)
    with pytest.raises(UserError, match=r"transfer-twins.json is of other pretrainings than docs/transfer-seeds.json"):
        transfer_seeds.tables({**found, "cilp": {**found["cilp"], "steps": 5}})


def test_cues_of_networks_that_another_machine_trained_are_not_made_here(tmp_path, monkeypatch):
    """They would be those of other networks than the accuracies beside them."""
    import course_cues
    import torch

    from cilp import params

    (tmp_path / "docs").mkdir()
    for name in ("course-seeds", "course-auxiliary-seeds"):
        shutil.copy(ROOT / f"docs/{name}.json", tmp_path / "docs")
    settings = params.load(ROOT / "params.yaml")
    monkeypatch.chdir(tmp_path)
    made_by = json.loads(Path("docs/course-seeds.json").read_text())
    machine = {key: made_by[key] for key in ("device", "python", "torch", "numpy")}
    monkeypatch.setattr(course_cues, "describe", lambda device: machine)
    of = course_cues.check_made_by(course_cues.COURSE, settings, torch.device("cpu"))
    assert of["embedder"] == made_by["embedder"] and "right" not in of
    monkeypatch.setattr(course_cues, "describe", lambda device: {**machine, "device": "another"})
    with pytest.raises(UserError, match=r"course-seeds.json was made with another device"):
        course_cues.check_made_by(course_cues.COURSE, settings, torch.device("cpu"))
