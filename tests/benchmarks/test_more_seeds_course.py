import copy
import json
import runpy
import shutil
import statistics
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from bits import weights
from clone import ROOT, merge
from synthetic import make_packed

from cilp import packed
from cilp.classifiers.random_size import sizes
from cilp.errors import UserError
from cilp.packing import pack_scenes
from cilp.report.claims import Figures, claims_of, holds
from cilp.report.docs import insert_tables
from cilp.simulation.processes import rendering
from cilp.simulation.varied import of_random_size
from cilp.training.device import describe
from cilp.training.inputs import load_split

CPU = torch.device("cpu")


@pytest.fixture
def course(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    import more_seeds_course

    return more_seeds_course


@pytest.fixture
def settings():
    change = {
        "cilp": {"batch_size": 8, "validate_every": 1}, "random_size": {"cilp_steps": 3},
        "fusion": {"concat": {"epochs": 2, "batch_size": 16}},
    }  # fmt: skip
    return merge(yaml.safe_load((ROOT / "params.yaml").read_text()), change)


@pytest.fixture(scope="module")
def splits():
    data = make_packed()
    return [load_split(data, split, CPU) for split in ("train", "val")]


def test_a_network_is_trained_once_and_kept_for_the_params_that_made_it(course, settings, splits, capsys):
    first = course.network("fusion/add-strided", 51, settings, *splits)
    assert "add-strided, course, seed 51: 24/24 samples" in capsys.readouterr().out
    again = course.network("fusion/add-strided", 51, settings, *splits)
    assert capsys.readouterr().out == "" and torch.equal(weights(first), weights(again))
    settings["image_classifier"]["lr"] *= 10
    faster = course.network("fusion/add-strided", 51, settings, *splits)
    assert not torch.equal(weights(first), weights(faster))
    kept = [str(path.relative_to(course.NETWORKS)) for path in course.NETWORKS.rglob("*.pt")]
    assert kept == [f"{course.digest(*splits)}/fusion/add-strided-5m/seed-51.pt"]


@pytest.mark.parametrize("change", [{"xyz_scale": 7.0}, {"initialisation": "torch"}])
def test_a_network_of_another_embedders_params_is_not_taken(course, settings, splits, capsys, change):
    first = course.network("fusion/add-strided", 51, settings, *splits)
    settings["embedder"] |= change
    capsys.readouterr()
    second = course.network("fusion/add-strided", 51, settings, *splits)
    assert "add-strided, course, seed 51: 24/24 samples" in capsys.readouterr().out
    assert not torch.equal(weights(first), weights(second))


def test_networks_in_different_units_lie_side_by_side(course, settings, splits, capsys):
    fine = merge(copy.deepcopy(settings), {"embedder": {"xyz_scale": 1.5}})
    first = [course.network("fusion/add-strided", 51, params, *splits) for params in (settings, fine)]
    capsys.readouterr()
    again = [course.network("fusion/add-strided", 51, params, *splits) for params in (settings, fine)]
    assert capsys.readouterr().out == ""
    assert all(torch.equal(weights(one), weights(other)) for one, other in zip(first, again, strict=True))


def test_a_network_of_other_scenes_is_not_taken(course, settings, splits, capsys):
    first = course.network("fusion/add-strided", 51, settings, *splits)
    train, valid = splits
    capsys.readouterr()
    second = course.network("fusion/add-strided", 51, settings, replace(train, range=train.range + 1), valid)
    assert "add-strided, course, seed 51: 24/24 samples" in capsys.readouterr().out
    assert not torch.equal(weights(first), weights(second))
    assert len(list(course.NETWORKS.rglob("*.pt"))) == 2


def test_the_network_of_the_stage_is_taken_if_these_params_made_it(
    course, settings, splits, capsys, tmp_path, monkeypatch
):
    """It is the one that is trained here, to the bit."""
    packed.save(make_packed(), tmp_path / "data/random_size.pt")
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    stage = runpy.run_path(str(ROOT / "stages/train_fusion_course.py"))["main"]
    monkeypatch.setenv("WANDB_MODE", "disabled")
    arguments = ["--fusion", "add", "--downsampling", "maxpool", "--seed", "51"]
    for auxiliary, asked in ((False, arguments), (True, [*arguments, "--auxiliary-losses"])):
        alone = course.network("fusion/add-maxpool", 51, settings, *splits, auxiliary)
        shutil.rmtree(course.NETWORKS)
        monkeypatch.setattr(sys, "argv", ["train_fusion_course.py", *asked])
        stage()
        capsys.readouterr()
        taken = course.network("fusion/add-maxpool", 51, settings, *splits, auxiliary)
        assert capsys.readouterr().out == "" and not course.NETWORKS.exists()
        assert torch.equal(weights(taken), weights(alone))
    train, valid = splits
    course.network("fusion/add-maxpool", 51, settings, replace(train, label=1 - train.label), valid)
    assert "add-maxpool, course, seed 51" in capsys.readouterr().out  # the study's saw the study's scenes
    settings["cilp"]["mirror"] = False
    course.network("fusion/add-maxpool", 51, settings, *splits)
    assert "add-maxpool, course, seed 51" in capsys.readouterr().out


def test_less_than_all_of_the_course_is_another_training(course, settings, splits, capsys):
    names = ["concat", *course.IN_PART, "early", *course.RESCALED]
    models = {name: course.network(f"fusion/{name}-strided", 51, settings, *splits) for name in names}
    said = capsys.readouterr().out
    samples = len(splits[0])
    assert f"concat_he-strided, course, seed 51: {2 * samples}/{2 * samples} samples" in said  # its own two epochs
    assert all(f"{name}-strided, course, seed 51: 24/24 samples" in said for name in names if name != "concat_he")
    found = {tuple(weights(model).tolist()) for model in models.values()}
    assert len(found) == len(names)


def test_further_scenes_are_none_of_those_it_was_chosen_on(course, settings, monkeypatch):
    import more_seeds_networks

    monkeypatch.setattr(more_seeds_networks, "TEST_SCENES", 3)
    packed.save(make_packed(), Path("data/random_size.pt"))
    first, again, further = (course.taking_the_course(settings, CPU, tested=seed)[2] for seed in (0, 0, 1))
    assert torch.equal(first.range, again.range)
    assert not any(torch.equal(one, other) for one in first.range for other in further.range)


def test_trained_anew_all_scenes_are_others(course, settings):
    settings["random_size"] |= {"train": 3, "valid": 2}
    packed.save(pack_scenes(sizes(settings).scenes(), partial(rendering, of_random_size(settings))), course.RANDOM_SIZE)
    first, again, anew = (course.scenes(settings, CPU, further) for further in (0, 0, 2))
    assert [len(split) for split in anew] == [len(split) for split in first] == [6, 4]
    assert course.digest(*first) == course.digest(*again)
    seen = [view for split in first for view in split.range]
    assert not any(torch.equal(one, other) for one in seen for split in anew for other in split.range)


def test_what_took_the_course_in_part_is_compared_with_its_whole_alone(course):
    import more_seeds

    right = {
        name: {"51": "21", "52": "12"} for name in ("fusion/rgb-maxpool", "fusion/concat-maxpool", "fusion/add-maxpool")
    }
    right |= {f"fusion/{name}-maxpool": {"51": "11", "52": "12"} for name in course.IN_PART}
    compared = more_seeds.comparisons({"right": right, "significance": {"confidence": 0.95}})
    found = {(it.first, it.second) for it in compared}
    assert len(found) == 3 + len(course.IN_PART)
    assert all("fusion/concat-maxpool" in pair for pair in found if "_" in "".join(pair))


@pytest.fixture
def cues(course):
    import course_cues

    return course_cues


def test_what_they_go_by_is_asked_of_the_networks_that_were_kept(cues, course, settings, splits, monkeypatch, capsys):
    import more_seeds

    packed.save(make_packed(), Path("data/random_size.pt"))
    settings["audit"]["scenes"] = 2
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    seeds, sensors = {"51": "22", "52": "20"}, ["fusion/rgb-maxpool", "fusion/lidar-maxpool"]
    for name in sensors:
        for seed in map(int, seeds):
            course.network(name, seed, settings, *splits)
    trained = {name: seeds for name in [*sensors, "fusion/decision-maxpool", "fusion/concat_he-maxpool"]}
    Path("docs").mkdir()
    right = {
        "course": {**trained, "fusion/add-maxpool": {"51": "22"}},
        "course_auxiliary": {"fusion/add-maxpool": seeds},
    }
    for name, runs in right.items():
        record, machine = more_seeds.RECORDS[name], describe(torch.device("cpu"))
        head = {**machine, **record.decided_by(record.trained_by(settings))}
        record.results.write_text(json.dumps({**head, "right": runs}))
    for seed in map(int, seeds):
        course.network("fusion/add-maxpool", seed, settings, *splits, auxiliary=True)
    cues.COURSE.page.write_text("<!-- course_cues -->\n\n<!-- /course_cues -->\n")
    monkeypatch.setattr(sys, "argv", ["course_cues.py"])
    capsys.readouterr()
    cues.main()
    assert "course, seed" not in capsys.readouterr().out  # none is trained again
    found = json.loads(cues.COURSE.results.read_text())
    assert list(found["accuracy"]) == [*sensors, "fusion/decision-maxpool", "fusion/add-maxpool-auxiliary"]
    assert found["accuracy"][sensors[0]]["52"].keys() == settings["audit"]["conditions"].keys()
    dark = [run["dark"] for run in found["accuracy"][sensors[0]].values()]
    assert dark == [0.5, 0.5]  # the image alone says the same of every black image
    page = cues.COURSE.page.read_text()
    assert "| decision, max-pooling | " in page and page.count(" ± ") == 4 * 7


@pytest.mark.parametrize("name", ["COURSE", "REPLICATION", "MORE_OF_COURSE", "FINE"])
def test_the_table_of_what_they_go_by_is_that_of_the_record(cues, monkeypatch, name):
    asked = getattr(cues, name)
    found, page = json.loads((ROOT / asked.results).read_text()), (ROOT / asked.page).read_text(encoding="utf-8")
    assert insert_tables(page, {f"{asked.name}_cues": cues.table(found["conditions"], found["accuracy"])}) == page
    monkeypatch.chdir(ROOT)
    runs = [(f"{name}{ending}", seed) for ending in asked.records for name, seed in cues.trained(asked, ending)]
    assert [(name, seed) for name, of in found["accuracy"].items() for seed in of] == runs


@pytest.mark.parametrize("name", ["COURSE", "REPLICATION", "MORE_OF_COURSE", "FINE"])
def test_what_is_said_of_it_follows_from_the_record(cues, name):
    asked, figures = getattr(cues, name), Figures(ROOT / "metrics")
    runs = json.loads((ROOT / asked.results).read_text())["accuracy"]
    figures.files["mean"] = {
        name: {
            condition: statistics.fmean(run[condition] for run in of.values()) for condition in next(iter(of.values()))
        }
        for name, of in runs.items()
    }
    figures.files["seed"] = runs
    for path in (asked.page, Path("README.md"), Path("docs/results.md")):
        claims = claims_of((ROOT / path).read_text(encoding="utf-8"), f"{asked.name.replace('_', ' ')} cues")
        assert claims or path != asked.page
        assert [claim for claim in claims if not holds(claim, figures)] == []


def test_the_tables_of_several_trainings_are_those_of_the_records(course, monkeypatch):
    import readme_tables

    monkeypatch.chdir(ROOT)
    page = (ROOT / readme_tables.PAGE).read_text(encoding="utf-8")
    assert insert_tables(page, readme_tables.tables()) == page
    with pytest.raises(UserError, match="so: of some networks 3 seeds are recorded, of others 4; train the rest"):
        readme_tables.line("so", {"rgb": (0.9, 3), "late": (0.9, 4)})
    row = readme_tables.line("so", {"rgb": (0.9, 3), "late": (0.98765, 3)})
    assert row == "| so | 3 | 90.0 | - | - | 98.8 | - | - | - | - |"
