"""What ``benchmarks/more_seeds.py`` trains, writes down and compares."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cilp import packed, params
from cilp.errors import UserError
from cilp.training.checkpoint import load_checkpoint
from cilp.training.classifier import logits_of, score
from cilp.training.inputs import load_split


def test_how_many_of_a_scene_are_right_is_kept_in_order_of_seeds_and_scenes(more_seeds):
    right = {"100": "012", "51": "220"}
    assert more_seeds.shares(right).tolist() == [[1, 1, 0], [0, 0.5, 1]]
    assert [more_seeds.digits(row) for row in more_seeds.shares(right)] == ["220", "012"]


def test_variants_that_lack_seeds_are_not_compared(more_seeds, trained):
    trained["right"]["fusion/late-strided"].popitem()
    assert "fusion/late-strided" not in more_seeds.complete(trained)
    compared = {name for found in more_seeds.comparisons(trained) for name in (found.first, found.second)}
    assert compared == trained["right"].keys() - {"fusion/late-strided"}


def test_further_seeds_stand_beside_those_of_the_study_and_are_trained_once(
    more_seeds, study, project, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["more_seeds.py", "--variants", "add-strided"])
    more_seeds.main()
    found = json.loads(study.results.read_text())
    assert {name: list(right) for name, right in found["right"].items()} == {
        "fusion/add-maxpool": [], "fusion/add-strided": ["51", "52", "54", "55"]
    }  # fmt: skip
    page = study.page.read_text()
    assert "| variant | 51 | 52 | 54 | 55 | mean |" in page
    mean = more_seeds.shares(found["right"]["fusion/add-strided"]).mean()
    assert f" | {mean:.4f} ± " in page and "addition, max-pooling" not in page
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["more_seeds.py"])
    more_seeds.main()
    said = capsys.readouterr().out
    assert "add-maxpool seed 55: 48/48 samples" in said and "fusion/add-maxpool seed 51: test accuracy" in said
    assert "add-maxpool seed 51: 48/48" not in said and "add-strided" not in said
    assert "| addition, strided convolution - addition, max-pooling |" in study.page.read_text()
    assert study.figure.is_file()


def test_what_is_kept_is_what_the_networks_of_the_study_say(more_seeds, study, project, monkeypatch):
    monkeypatch.setitem(more_seeds.RECORDS, "study", replace(study, further=()))
    more_seeds.main()
    test = load_split(packed.load(Path("data/packed.pt")), "test", torch.device("cpu"))
    model, _ = load_checkpoint(Path("models/fusion/add-maxpool/seed-52.pt"), torch.device("cpu"))
    kept = more_seeds.shares(json.loads(study.results.read_text())["right"]["fusion/add-maxpool"])[1]
    assert kept.mean() == score(logits_of(model, test), test.label)[1]


@pytest.mark.parametrize("section", ["device", "data", "fusion"])
def test_runs_of_other_params_or_machines_are_not_mixed_with_these(more_seeds, study, project, monkeypatch, section):
    monkeypatch.setitem(more_seeds.RECORDS, "study", replace(study, further=()))
    more_seeds.main()
    found = json.loads(study.results.read_text())
    study.results.write_text(json.dumps({**found, section: "another"}))
    with pytest.raises(UserError, match=rf"more-seeds.json was made with another {section}; delete it to begin"):
        more_seeds.main()


@pytest.mark.parametrize("alike", [True, False])
def test_the_record_of_another_machine_goes_on_where_a_run_comes_out_alike(
    more_seeds, study, project, monkeypatch, capsys, alike
):
    monkeypatch.setitem(more_seeds.RECORDS, "study", replace(study, further=(54,)))
    more_seeds.main()
    kept = json.loads(study.results.read_text())
    right = kept["right"]["fusion/add-strided"]
    if not alike:
        right["54"] = "".join(str((int(digit) + 1) % 3) for digit in right["54"])
    added = kept["right"]["fusion/add-maxpool"].pop("54")
    study.results.write_text(json.dumps({**kept, "device": "another"}))
    monkeypatch.setattr(sys, "argv", ["more_seeds.py", "--another-machine"])
    if not alike:
        with pytest.raises(UserError, match=r"add-strided seed 54 does not come out here as on another; nothing was"):
            more_seeds.main()
        assert json.loads(study.results.read_text()) == {**kept, "device": "another"}
        return
    more_seeds.main()
    assert "fusion/add-strided seed 54 comes out as on another" in capsys.readouterr().out
    found = json.loads(study.results.read_text())
    assert (found["device"], found["also"]) == ("another", [kept["device"]])
    assert found["right"]["fusion/add-maxpool"]["54"] == added
    monkeypatch.setattr(sys, "argv", ["more_seeds.py"])
    more_seeds.main()  # known by now
    assert "comes out" not in capsys.readouterr().out
    found.pop("also")
    study.results.write_text(json.dumps(found))  # it is remembered where nothing is left to train, too
    monkeypatch.setattr(sys, "argv", ["more_seeds.py", "--another-machine"])
    more_seeds.main()
    assert json.loads(study.results.read_text())["also"] == [kept["device"]]


def test_of_a_variant_that_came_later_nothing_is_known_yet(more_seeds, study, project, monkeypatch):
    monkeypatch.setitem(more_seeds.RECORDS, "study", replace(study, further=()))
    more_seeds.main()
    found = json.loads(study.results.read_text())
    first = {"fusion/add-maxpool": found["right"]["fusion/add-maxpool"]}
    study.results.write_text(json.dumps({**found, "right": first}))
    more_seeds.main()
    assert json.loads(study.results.read_text()) == found
    study.results.write_text(json.dumps({**found, "right": {**first, "fusion/average-maxpool": {}}}))
    with pytest.raises(UserError, match="delete it to begin anew"):
        more_seeds.main()


def test_a_page_without_a_place_for_the_tables_is_said_before_anything_trains(more_seeds, study, project, capsys):
    study.page.write_text(study.page.read_text().replace("<!-- together -->", ""))
    with pytest.raises(UserError, match=r"docs/more-seeds.md has no place for a table: add <!-- together --> and its"):
        more_seeds.main()
    assert not study.results.exists() and "samples" not in capsys.readouterr().out


def test_a_record_that_is_not_there_is_missed_by_name(more_seeds, project):
    with pytest.raises(UserError, match=r"course-seeds.json is missing; run .*more_seeds.py --record course first"):
        more_seeds.recorded("course")


def test_a_variant_that_there_is_not_is_refused(more_seeds, project, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["more_seeds.py", "--variants", "add-average"])
    with pytest.raises(UserError, match="fusion/add-average: no such variant; there are fusion/add-maxpool"):
        more_seeds.main()


def test_registered_networks_stand_beside_the_same_seeds_of_the_others(
    more_seeds, networks, project, monkeypatch, capsys
):
    monkeypatch.setattr(networks, "TEST_SCENES", 3)
    os.link(project / "data/packed.pt", project / "data/random_size.pt")
    record = replace(more_seeds.RECORDS["registered"], fusions=["add"], further=(54,))
    monkeypatch.setitem(more_seeds.RECORDS, "registered", record)
    others = {"54": "212", "55": "222"}
    half = more_seeds.RECORDS["half_rate"].results
    settings = params.load()
    tested_on = record.decided_by(record.trained_by(settings))
    half.write_text(json.dumps({**tested_on, "right": {f"fusion/add-{way}": others for way in ("maxpool", "strided")}}))
    monkeypatch.setattr(sys, "argv", ["more_seeds.py", "--record", "registered", "--variants", "add-strided"])
    more_seeds.main()
    assert "add-strided, registered, seed 54: 48/48 samples" in capsys.readouterr().out
    found = json.loads(record.results.read_text())
    assert list(found["right"]["fusion/add-strided"]) == ["54"] and not found["right"]["fusion/add-maxpool"]
    rows = more_seeds.one_by_one(record.against, found).splitlines()
    assert rows[0].startswith("| variant | grids as they are | registered |")
    assert [row.split(" | ")[:2] for row in rows[2:]] == [["| addition, strided convolution", "0.8333"]]


def test_longer_trainings_stand_beside_the_studys_own(more_seeds, study, project, monkeypatch, capsys):
    """Of the fusions that are asked for alone, none of whose networks is the study's, on all of the seeds."""
    monkeypatch.setitem(
        more_seeds.RECORDS, "longer",
        replace(more_seeds.RECORDS["longer"], fusions=["add"], epochs=2, further=(51, 52, 54, 55)),
    )  # fmt: skip
    more_seeds.main()
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["more_seeds.py", "--record", "longer"])
    more_seeds.main()
    said = capsys.readouterr().out
    assert "add-maxpool seed 51: 96/96 samples" in said
    record = more_seeds.RECORDS["longer"]
    found = json.loads(record.results.read_text())
    assert list(found["right"]) == ["fusion/add-maxpool", "fusion/add-strided"]
    assert all(list(right) == ["51", "52", "54", "55"] for right in found["right"].values())
    assert "| variant | 20 epochs | 100 epochs | difference |" in study.page.read_text()
    assert study.figure.is_file() and not record.figure.exists()


def test_two_trainings_are_compared_variant_by_variant_on_the_same_seeds(more_seeds, trained, monkeypatch):
    slower = json.loads(json.dumps(trained))
    right = slower["right"]["fusion/late-strided"]
    slower["right"]["fusion/late-strided"] = dict.fromkeys(right, "2" * 1000)
    for name in ("fusion/add-strided", "fusion/late-maxpool"):
        slower["right"][name] = {"51": right["51"]}
    beside = more_seeds.RECORDS["half_rate"].against
    monkeypatch.setattr(more_seeds, "held_against", {beside: trained}.__getitem__)
    found = {it.first: it for it in more_seeds.against(beside, slower)}
    assert found.keys() == trained["right"].keys() - {"fusion/add-strided", "fusion/late-maxpool"}
    gained = found["fusion/late-strided"].difference.mean
    assert gained == pytest.approx(1 - more_seeds.shares(right).mean()) and gained > 0.01
    assert found["fusion/late-strided"].second == "fusion/late-strided" + "/slower"
    assert found["fusion/add-maxpool"].difference.mean == 0
    rows = more_seeds.one_by_one(beside, slower).splitlines()
    assert rows[0].startswith("| variant | full learning rate | half of it | difference | 95% interval |")
    late = next(row for row in rows if row.startswith("| late, strided convolution |"))
    assert late.startswith(f"| late, strided convolution | {1 - gained:.4f} | 1.0000 | ")
    assert {row.count("|") for row in rows} == {8}
