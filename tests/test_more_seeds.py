"""docs/more-seeds.md shows what was trained on further seeds, and says no more than that."""

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from clone import merge
from synthetic import make_packed

from cilp import packed
from cilp.errors import UserError
from cilp.models import fusion, normalised_fusion
from cilp.report.claims import Figures, claims_of, holds
from cilp.report.readme import insert_tables
from cilp.report.significance import significance_json
from cilp.training.checkpoint import load_checkpoint, save_checkpoint
from cilp.training.classifier import logits_of, score
from cilp.training.inputs import load_split

ROOT = Path(__file__).parents[1]


@pytest.fixture
def more_seeds(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import more_seeds

    return more_seeds


@pytest.fixture
def networks(more_seeds):
    import more_seeds_networks

    return more_seeds_networks


@pytest.fixture
def study(more_seeds):
    return more_seeds.SCENES["study"]


@pytest.fixture
def trained(study):
    return json.loads((ROOT / study.results).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["study", "random_size"])
def test_its_tables_are_those_of_the_runs(more_seeds, name):
    scenes = more_seeds.SCENES[name]
    page, found = (ROOT / more_seeds.PAGE).read_text(encoding="utf-8"), json.loads((ROOT / scenes.results).read_text())
    assert insert_tables(page, more_seeds.tables(scenes, found)) == page
    assert {len(shares) for shares in more_seeds.complete(found).values()} == {len(range(51, scenes.further.stop))}


def each_run(right):
    """By model and seed: accuracy, whether it is the best of that seed, whether it tells no cube from its sphere."""
    seed = {
        model: {number: sum(map(int, shares)) / (2 * len(shares)) for number, shares in runs.items()}
        for model, runs in right.items()
    }
    best = {number: max(runs[number] for runs in seed.values()) for number in next(iter(seed.values()))}
    return {
        "seed": seed,
        "best": {model: {number: it == best[number] for number, it in runs.items()} for model, runs in seed.items()},
        "constant": {model: {number: set(it) == {"1"} for number, it in runs.items()} for model, runs in right.items()},
    }


@pytest.mark.parametrize(
    ("name", "kinds"), [("study", ("holds", "more seeds")), ("random_size", ("random sizes",) * 2)]
)
def test_what_is_said_of_further_seeds_follows_from_them(more_seeds, name, kinds):
    scenes = more_seeds.SCENES[name]
    found = json.loads((ROOT / scenes.results).read_text(encoding="utf-8"))
    figures = Figures(ROOT / "metrics")
    confidence = found["significance"]["confidence"]
    figures.files["significance"] = significance_json({}, more_seeds.comparisons(found), confidence)
    figures.files["together"] = more_seeds.together(scenes, found)
    figures.files["mean"] = {model: shares.mean() for model, shares in more_seeds.complete(found).items()}
    figures.files |= each_run(found["right"])
    for path, kind in zip((more_seeds.PAGE, Path("README.md")), kinds, strict=True):
        claims = claims_of((ROOT / path).read_text(encoding="utf-8"), kind)
        assert claims, f"{path} claims nothing that could be checked"
        assert [claim for claim in claims if not holds(claim, figures)] == []


def test_how_many_of_a_scene_are_right_is_kept_in_order_of_seeds_and_scenes(more_seeds):
    right = {"100": "012", "51": "220"}
    assert more_seeds.shares(right).tolist() == [[1, 1, 0], [0, 0.5, 1]]
    assert [more_seeds.digits(row) for row in more_seeds.shares(right)] == ["220", "012"]


def test_variants_that_lack_seeds_are_not_compared(more_seeds, trained):
    trained["right"]["fusion/late-strided"].popitem()
    assert "fusion/late-strided" not in more_seeds.complete(trained)
    compared = {name for found in more_seeds.comparisons(trained) for name in (found.first, found.second)}
    assert compared == trained["right"].keys() - {"fusion/late-strided"}


@pytest.fixture
def project(more_seeds, tmp_path, monkeypatch):
    """A project with made-up data and the networks of two variants on two seeds."""
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    change = {"variants": {"fusion": ["add"]}, "seeds": [51, 52], "device": "cpu", "fusion": {"add": {"epochs": 1}}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(merge(settings, change)))
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / more_seeds.PAGE, tmp_path / more_seeds.PAGE)
    packed.save(make_packed(), tmp_path / "data/packed.pt")
    monkeypatch.chdir(tmp_path)
    for way in ("maxpool", "strided"):
        arguments = {"fusion": "add", "downsampling": way, "xyz_scale": 50.0}
        for seed in (51, 52):
            torch.manual_seed(seed)
            path = Path(f"models/fusion/add-{way}/seed-{seed}.pt")
            save_checkpoint(path, fusion.build(**arguments), "fusion", arguments, {}, seed)
    for name, scenes in more_seeds.SCENES.items():
        monkeypatch.setitem(more_seeds.SCENES, name, replace(scenes, further=(54, 55)))
    monkeypatch.setattr(sys, "argv", ["more_seeds.py"])
    return tmp_path


def test_further_seeds_stand_beside_those_of_the_study_and_are_trained_once(
    more_seeds, study, project, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["more_seeds.py", "--variants", "add-strided"])
    more_seeds.main()
    found = json.loads(study.results.read_text())
    assert {name: list(right) for name, right in found["right"].items()} == {
        "fusion/add-maxpool": [], "fusion/add-strided": ["51", "52", "54", "55"]
    }  # fmt: skip
    page = more_seeds.PAGE.read_text().partition("## On scenes in which")[0]
    assert "| variant | 51 | 52 | 54 | 55 | mean |" in page
    mean = more_seeds.shares(found["right"]["fusion/add-strided"]).mean()
    assert f" | {mean:.4f} ± " in page and "addition, max-pooling" not in page
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["more_seeds.py"])
    more_seeds.main()
    said = capsys.readouterr().out
    assert "add-maxpool seed 55: 48/48 samples" in said and "fusion/add-maxpool seed 51: test accuracy" in said
    assert "add-maxpool seed 51: 48/48" not in said and "add-strided" not in said
    assert "| addition, strided convolution - addition, max-pooling |" in more_seeds.PAGE.read_text()
    assert study.figure.is_file()


def test_what_is_kept_is_what_the_networks_of_the_study_say(more_seeds, study, project, monkeypatch):
    monkeypatch.setitem(more_seeds.SCENES, "study", replace(study, further=()))
    more_seeds.main()
    test = load_split(packed.load(Path("data/packed.pt")), "test", torch.device("cpu"))
    model, _ = load_checkpoint(Path("models/fusion/add-maxpool/seed-52.pt"), torch.device("cpu"))
    kept = more_seeds.shares(json.loads(study.results.read_text())["right"]["fusion/add-maxpool"])[1]
    assert kept.mean() == score(logits_of(model, test), test.label)[1]


@pytest.mark.parametrize("section", ["device", "data", "fusion"])
def test_runs_of_other_params_or_machines_are_not_mixed_with_these(more_seeds, study, project, monkeypatch, section):
    monkeypatch.setitem(more_seeds.SCENES, "study", replace(study, further=()))
    more_seeds.main()
    found = json.loads(study.results.read_text())
    study.results.write_text(json.dumps({**found, section: "another"}))
    with pytest.raises(UserError, match=r"more-seeds.json is of other params or of another machine; delete it"):
        more_seeds.main()


def test_of_a_variant_that_came_later_nothing_is_known_yet(more_seeds, study, project, monkeypatch):
    monkeypatch.setitem(more_seeds.SCENES, "study", replace(study, further=()))
    more_seeds.main()
    found = json.loads(study.results.read_text())
    first = {"fusion/add-maxpool": found["right"]["fusion/add-maxpool"]}
    study.results.write_text(json.dumps({**found, "right": first}))
    more_seeds.main()
    assert json.loads(study.results.read_text()) == found
    study.results.write_text(json.dumps({**found, "right": {**first, "fusion/average-maxpool": {}}}))
    with pytest.raises(UserError, match="delete it to begin anew"):
        more_seeds.main()


def test_a_variant_that_there_is_not_is_refused(more_seeds, project, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["more_seeds.py", "--variants", "add-average"])
    with pytest.raises(UserError, match="fusion/add-average: no such variant; there are fusion/add-maxpool"):
        more_seeds.main()


def test_on_random_sizes_further_seeds_are_trained_by_the_stage_and_asked_about_scenes_of_their_own(
    more_seeds, networks, project, monkeypatch, capfd
):
    scenes = more_seeds.SCENES["random_size"]
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setattr(networks, "TEST_SCENES", 3)
    (project / "stages").mkdir()
    shutil.copy(ROOT / "stages/train_random_size.py", project / "stages")
    os.link(project / "data/packed.pt", project / "data/random_size.pt")
    arguments = {"fusion": "add", "downsampling": "strided", "xyz_centre": [0.0, 0.0, 0.0], "xyz_scale": 50.0}
    of_the_study = Path("models/random_size/fusion/add-strided/seed-51.pt")
    save_checkpoint(of_the_study, normalised_fusion.build(**arguments), "normalised_fusion", arguments, {}, 51)
    monkeypatch.setattr(sys, "argv", ["more_seeds.py", "--scenes", "random_size", "--variants", "add-strided"])
    more_seeds.main()
    right = json.loads(scenes.results.read_text())["right"]
    assert {name: list(seeds) for name, seeds in right.items()} == {
        "fusion/add-maxpool": [], "fusion/add-strided": ["51", "54", "55"],
        "fusion/joint-maxpool": [], "fusion/joint-strided": [],
        "fusion/decision-maxpool": [], "fusion/decision-strided": [],
    }  # fmt: skip
    assert {len(seed) for seed in right["fusion/add-strided"].values()} == {3}
    said = capfd.readouterr().out
    assert "add-strided, random size: seed 55 on" in said and "random size: seed 51" not in said
    assert [path.name for path in of_the_study.parent.iterdir()] == ["seed-51.pt"]
    assert scenes.figure.is_file() and not more_seeds.SCENES["study"].results.exists()


def test_decision_level_fusion_adds_up_the_log_odds_of_two_networks(networks):
    image, lidar = torch.rand(2, 100, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    both = networks.decided_by_both(image, lidar)
    assert torch.allclose(torch.logit(both), torch.logit(image) + torch.logit(lidar), atol=1e-9)


def test_decision_level_fusion_is_what_the_networks_of_one_sensor_say_together(
    more_seeds, networks, project, monkeypatch
):
    scenes = more_seeds.SCENES["random_size"]
    monkeypatch.setitem(more_seeds.SCENES, "random_size", replace(scenes, further=()))
    monkeypatch.setattr(networks, "TEST_SCENES", 8)
    said = []
    monkeypatch.setattr(networks, "probabilities", lambda model, split: said.append((model, split)) or torch.tensor(
        [0.9, 0.4] * 8 if len(said) == 1 else [0.2, 0.3] * 8, dtype=torch.float64
    ))  # fmt: skip
    for sensor in ("rgb", "lidar"):
        arguments = {"fusion": sensor, "downsampling": "strided", "xyz_centre": [0.0, 0.0, 0.0], "xyz_scale": 50.0}
        path = Path(f"models/random_size/fusion/{sensor}-strided/seed-51.pt")
        save_checkpoint(path, normalised_fusion.build(**arguments), "normalised_fusion", arguments, {}, 51)
    monkeypatch.setattr(sys, "argv", ["more_seeds.py", "--scenes", "random_size", "--variants", "decision-strided"])
    more_seeds.main()
    right = json.loads(scenes.results.read_text())["right"]
    assert right["fusion/decision-strided"] == {"51": "0" * 8}  # 9:1 and 1:4 are a sphere, 2:3 and 3:7 a cube
    assert len(said) == 2


def test_trained_jointly_it_is_the_same_network(networks, project, monkeypatch):
    settings = yaml.safe_load(Path("params.yaml").read_text())
    settings["fusion"]["rgb"]["epochs"] = 1
    os.link(project / "data/packed.pt", project / "data/random_size.pt")
    model = networks.train_jointly("strided", 51, settings, torch.device("cpu"))
    test = load_split(packed.load(Path("data/packed.pt")), "test", torch.device("cpu"))
    apart = [logits_of(part, test).double().sigmoid() for part in model.networks]
    assert torch.allclose(networks.decided_by_both(*apart), logits_of(model, test).double().sigmoid(), atol=1e-6)
