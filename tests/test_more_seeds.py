"""docs/more-seeds.md shows what was trained on further seeds, and says no more than that.

Claims beside a sentence are held against ``docs/more-seeds.json`` (``more seeds``), ``docs/random-size-seeds.json``
(``random sizes``), ``docs/half-rate-seeds.json`` (``half rate``), where ``fusion/add-maxpool/slower`` stands beside
``fusion/add-maxpool`` at all of the learning rate, ``docs/registered-seeds.json`` (``registered``),
``docs/longer-seeds.json`` (``longer``) or ``docs/course-seeds.json`` (``course``), where
``fusion/rgb-maxpool/registered``, ``/longer`` or ``/course`` stands beside ``fusion/rgb-maxpool``,
``docs/fresh-seeds.json`` (``fresh scenes``) or ``docs/replication-seeds.json`` (``replication``).
"""

import io
import json
import os
import shutil
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from clone import merge
from synthetic import make_packed
from torch.nn.functional import binary_cross_entropy_with_logits

from cilp import packed
from cilp.errors import UserError
from cilp.evaluation.audit import rendered
from cilp.models import fusion, normalised_fusion
from cilp.params import section
from cilp.report.claims import Figures, claims_of, holds
from cilp.report.docs import insert_tables
from cilp.report.significance import significance_json
from cilp.simulation.scenes import SimulateParams
from cilp.training.checkpoint import load_checkpoint, save_checkpoint
from cilp.training.classifier import logits_of, score
from cilp.training.inputs import load_split

ROOT = Path(__file__).parents[1]


KINDS = {
    "random_size": "random sizes", "half_rate": "half rate", "registered": "registered", "longer": "longer",
    "course": "course", "supervised": "supervised", "fresh": "fresh scenes", "replication": "replication",
}  # fmt: skip
"""What their claims are called."""


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


@pytest.mark.parametrize("name", ["study", *KINDS])
def test_its_tables_are_those_of_the_runs(more_seeds, name, monkeypatch):
    monkeypatch.chdir(ROOT)
    scenes = more_seeds.SCENES[name]
    page, found = (ROOT / more_seeds.PAGE).read_text(encoding="utf-8"), json.loads((ROOT / scenes.results).read_text())
    assert insert_tables(page, more_seeds.tables(scenes, found)) == page
    seeds = {*scenes.further, *((51, 52, 53) if name == "study" else ())}
    assert {len(shares) for shares in more_seeds.complete(found).values()} == {len(seeds)}


@pytest.mark.parametrize("name", ["study", "random_size", "half_rate", "course"])
def test_its_picture_shows_every_run(more_seeds, name, monkeypatch):
    monkeypatch.chdir(ROOT)
    scenes, axes = more_seeds.SCENES[name], []
    series = more_seeds.series(scenes, json.loads(scenes.results.read_text()))
    figure = sys.modules["more_seeds_figure"]
    monkeypatch.setattr(figure, "replacing", lambda *_: nullcontext(io.BytesIO()))
    monkeypatch.setattr(figure.pyplot, "close", lambda figure: axes.extend(figure.axes))
    figure.draw(scenes.figure, series, scenes.ticks)
    low, high = axes[0].get_xlim()
    points = [wrong for line in axes[0].get_lines() for wrong in line.get_xdata()]
    assert len(points) == sum(len(shares) + 1 for fusions in series.values() for shares in fusions.values())
    assert [wrong for wrong in points if not low <= wrong <= high] == []


def each_run(right):
    """By model and seed: accuracy, whether it is the best of that seed, whether it tells no cube from its sphere."""
    right = {model: runs for model, runs in right.items() if runs}
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
    ("name", "kinds"),
    [("study", ("holds", "more seeds")), *((name, (kind,) * 2) for name, kind in KINDS.items())],
)
def test_what_is_said_of_further_seeds_follows_from_them(more_seeds, name, kinds, monkeypatch):
    monkeypatch.chdir(ROOT)
    scenes = more_seeds.SCENES[name]
    found = json.loads((ROOT / scenes.results).read_text(encoding="utf-8"))
    figures = Figures(ROOT / "metrics")
    confidence = found["significance"]["confidence"]
    compared = more_seeds.comparisons(found)
    if scenes.against:
        compared += more_seeds.against(scenes.against, found)
    figures.files["significance"] = significance_json({}, compared, confidence)
    figures.files["together"] = more_seeds.together(scenes, found)
    figures.files["mean"] = {model: shares.mean() for model, shares in more_seeds.complete(found).items()}
    figures.files |= each_run({name: found["right"][name] for name in more_seeds.complete(found)})
    pages = {more_seeds.PAGE: kinds[0], Path("README.md"): kinds[1], Path("docs/results.md"): kinds[1]}
    for path, kind in pages.items():
        claims = claims_of((ROOT / path).read_text(encoding="utf-8"), kind)
        assert claims or path != more_seeds.PAGE, f"{path} claims nothing that could be checked"
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
    change = {
        "variants": {"fusion": ["add"]}, "seeds": [51, 52], "device": "cpu", "fusion": {"add": {"epochs": 1}},
        "random_size": {"lr_factor": 1.0},
    }  # fmt: skip
    settings = merge(settings, change)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / more_seeds.PAGE, tmp_path / more_seeds.PAGE)
    packed.save(make_packed(), tmp_path / "data/packed.pt")
    monkeypatch.chdir(tmp_path)
    for way in ("maxpool", "strided"):
        arguments = {"fusion": "add", "downsampling": way, "xyz_scale": 50.0}
        for seed in (51, 52):
            torch.manual_seed(seed)
            path = Path(f"models/fusion/add-{way}/seed-{seed}.pt")
            save_checkpoint(path, fusion.build(**arguments), "fusion", arguments, settings["fusion"]["add"], seed)
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
    with pytest.raises(UserError, match=rf"more-seeds.json was made with another {section}; delete it to begin"):
        more_seeds.main()


@pytest.mark.parametrize("alike", [True, False])
def test_the_record_of_another_machine_goes_on_where_a_run_comes_out_alike(
    more_seeds, study, project, monkeypatch, capsys, alike
):
    monkeypatch.setitem(more_seeds.SCENES, "study", replace(study, further=(54,)))
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


def test_a_page_without_a_place_for_the_tables_is_said_before_anything_trains(more_seeds, study, project, capsys):
    more_seeds.PAGE.write_text(more_seeds.PAGE.read_text().replace("<!-- together -->", ""))
    with pytest.raises(UserError, match=r"docs/more-seeds.md has no place for a table: add <!-- together --> and its"):
        more_seeds.main()
    assert not study.results.exists() and "samples" not in capsys.readouterr().out


def test_a_record_that_is_not_there_is_missed_by_name(more_seeds, project):
    with pytest.raises(UserError, match=r"course-seeds.json is missing; run .*more_seeds.py --scenes course first"):
        more_seeds.recorded("course")


def test_a_variant_that_there_is_not_is_refused(more_seeds, project, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["more_seeds.py", "--variants", "add-average"])
    with pytest.raises(UserError, match="fusion/add-average: no such variant; there are fusion/add-maxpool"):
        more_seeds.main()


def test_with_auxiliary_losses_a_fusion_of_the_study_is_trained_by_the_stage(networks, project, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    (project / "stages").mkdir()
    shutil.copy(ROOT / "stages/train_random_size.py", project / "stages")
    os.link(project / "data/packed.pt", project / "data/random_size.pt")
    monkeypatch.setattr(networks, "TEST_SCENES", 3)
    settings = yaml.safe_load(Path("params.yaml").read_text())
    _, logits, test = networks.on_random_sizes(settings, torch.device("cpu"))
    said = logits("fusion/add_auxiliary-strided", 54)
    assert len(said) == len(test) == 6
    assert not torch.equal(said, logits("fusion/add-strided", 54))


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
    trained_by = yaml.safe_load(Path("params.yaml").read_text())["fusion"]["add"]
    save_checkpoint(of_the_study, normalised_fusion.build(**arguments), "normalised_fusion", arguments, trained_by, 51)
    monkeypatch.setattr(sys, "argv", ["more_seeds.py", "--scenes", "random_size", "--variants", "add-strided"])
    more_seeds.main()
    right = json.loads(scenes.results.read_text())["right"]
    assert {name: list(seeds) for name, seeds in right.items()} == {
        "fusion/add-maxpool": [], "fusion/add-strided": ["51", "54", "55"],
        "fusion/joint-maxpool": [], "fusion/joint-strided": [],
        "fusion/auxiliary-maxpool": [], "fusion/auxiliary-strided": [],
        "fusion/decision-maxpool": [], "fusion/decision-strided": [],
    }  # fmt: skip
    assert {len(seed) for seed in right["fusion/add-strided"].values()} == {3}
    said = capfd.readouterr().out
    assert "add-strided, random size: seed 55 on" in said and "random size: seed 51" not in said
    assert [path.name for path in of_the_study.parent.iterdir()] == ["seed-51.pt"]
    assert scenes.figure.is_file() and not more_seeds.SCENES["study"].results.exists()


def test_the_networks_of_the_study_are_taken_if_they_were_trained_alike(more_seeds):
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    taken = {name: scenes.trained_by(settings) for name, scenes in more_seeds.SCENES.items()}
    seeds, random = settings["seeds"], settings["random_size"]["seeds"]
    assert {name: it["seeds"] for name, it in taken.items() if name != "longer"} == dict.fromkeys(
        ("study", "random_size", "half_rate", "registered", "course", "supervised", "fresh", "replication"), seeds
    )
    assert taken["longer"]["seeds"] == []
    assert {name: (it["random_size"]["lr_factor"], it["random_size"]["seeds"]) for name, it in taken.items()} == {
        "study": (0.5, random), "random_size": (1.0, []), "half_rate": (0.5, random),
        "registered": (0.5, random), "longer": (0.5, random), "course": (0.5, random), "fresh": (0.5, random),
        "supervised": (0.5, random), "replication": (0.5, random),
    }  # fmt: skip
    assert taken["longer"]["fusion"]["rgb"] == {**settings["fusion"]["rgb"], "epochs": 100}
    assert all(it["fusion"] == settings["fusion"] for name, it in taken.items() if name != "longer")


def test_registered_images_look_where_the_lidars_rays_point(networks):
    """Lit from everywhere, an object shows in the cells that return, and without that hardly in any of them."""
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    simulation = replace(section(settings, "data.simulate", SimulateParams), ambient=1.0, colour=(0.5, 1.0))
    split = rendered(simulation, 10, 1, torch.device("cpu"))
    seen = networks.registered(split, simulation.camera_fov)
    returns = split.range < 50
    overlap = {
        name: ((lit & returns).sum() / (lit | returns).sum()).item()
        for name, lit in (("registered", seen.rgb[..., :3].any(-1)), ("as it is", split.rgb[..., :3].any(-1)))
    }
    assert overlap["registered"] > 0.8 and overlap["as it is"] < 0.3
    assert torch.equal(seen.range, split.range) and torch.equal(seen.label, split.label)


def test_registered_networks_stand_beside_the_same_seeds_of_the_others(
    more_seeds, networks, project, monkeypatch, capsys
):
    monkeypatch.setattr(networks, "TEST_SCENES", 3)
    os.link(project / "data/packed.pt", project / "data/random_size.pt")
    scenes = replace(more_seeds.SCENES["registered"], fusions=["add"], further=(54,))
    monkeypatch.setitem(more_seeds.SCENES, "registered", scenes)
    others = {"54": "212", "55": "222"}
    half = more_seeds.SCENES["half_rate"].results
    half.write_text(json.dumps({"right": {f"fusion/add-{way}": others for way in ("maxpool", "strided")}}))
    monkeypatch.setattr(sys, "argv", ["more_seeds.py", "--scenes", "registered", "--variants", "add-strided"])
    more_seeds.main()
    assert "add-strided, registered, seed 54: 48/48 samples" in capsys.readouterr().out
    found = json.loads(scenes.results.read_text())
    assert list(found["right"]["fusion/add-strided"]) == ["54"] and not found["right"]["fusion/add-maxpool"]
    rows = more_seeds.one_by_one(scenes.against, found).splitlines()
    assert rows[0].startswith("| variant | grids as they are | registered |")
    assert [row.split(" | ")[:2] for row in rows[2:]] == [["| addition, strided convolution", "0.8333"]]


def test_longer_trainings_stand_beside_the_studys_own(more_seeds, study, project, monkeypatch, capsys):
    """Of the fusions that are asked for alone, none of whose networks is the study's, on all of the seeds."""
    monkeypatch.setitem(
        more_seeds.SCENES, "longer",
        replace(more_seeds.SCENES["longer"], fusions=["add"], epochs=2, further=(51, 52, 54, 55)),
    )  # fmt: skip
    more_seeds.main()
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["more_seeds.py", "--scenes", "longer"])
    more_seeds.main()
    said = capsys.readouterr().out
    assert "add-maxpool seed 51: 96/96 samples" in said
    scenes = more_seeds.SCENES["longer"]
    found = json.loads(scenes.results.read_text())
    assert list(found["right"]) == ["fusion/add-maxpool", "fusion/add-strided"]
    assert all(list(right) == ["51", "52", "54", "55"] for right in found["right"].values())
    assert "| variant | 20 epochs | 100 epochs | difference |" in more_seeds.PAGE.read_text()
    assert study.figure.is_file() and not scenes.figure.exists()


def test_the_stage_trains_by_the_params_it_is_given_and_leaves_the_project_alone(
    networks, project, monkeypatch, tmp_path_factory, capfd
):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    shutil.copytree(ROOT / "stages", project / "stages")
    os.link(project / "data/packed.pt", project / "data/random_size.pt")
    settings = yaml.safe_load(Path("params.yaml").read_text())
    before, folder = sorted(project.rglob("*")), tmp_path_factory.mktemp("elsewhere")
    settings["fusion"]["add"]["epochs"] = 2
    networks.train_in(folder, "add", "strided", 51, settings)
    assert "epoch 2/2" in capfd.readouterr().out
    assert [path.name for path in folder.glob("models/random_size/fusion/add-strided/*")] == ["seed-51.pt"]
    assert sorted(project.rglob("*")) == before


def test_two_trainings_are_compared_variant_by_variant_on_the_same_seeds(more_seeds, trained, monkeypatch):
    slower = json.loads(json.dumps(trained))
    right = slower["right"]["fusion/late-strided"]
    slower["right"]["fusion/late-strided"] = dict.fromkeys(right, "2" * 1000)
    for name in ("fusion/add-strided", "fusion/late-maxpool"):
        slower["right"][name] = {"51": right["51"]}
    beside = more_seeds.SCENES["half_rate"].against
    monkeypatch.setattr(more_seeds, "held_against", {beside: trained}.__getitem__)
    found = {it.first: it for it in more_seeds.against(beside, slower)}
    assert found.keys() == trained["right"].keys() - {"fusion/add-strided", "fusion/late-maxpool"}
    gained = found["fusion/late-strided"].difference.mean
    assert gained == pytest.approx(1 - more_seeds.shares(right).mean()) and gained > 0.01
    assert found["fusion/late-strided"].second == "fusion/late-strided" + "/slower"
    assert found["fusion/add-maxpool"].difference.mean == 0
    rows = more_seeds.one_by_one(beside, slower).splitlines()
    assert rows[0].startswith("| variant | all of the learning rate | half of it | difference | 95% interval |")
    late = next(row for row in rows if row.startswith("| late, strided convolution |"))
    assert late.startswith(f"| late, strided convolution | {1 - gained:.4f} | 1.0000 | ")
    assert {row.count("|") for row in rows} == {8}


def test_decision_level_fusion_is_what_the_networks_of_one_sensor_say_together(
    more_seeds, networks, project, monkeypatch
):
    scenes = more_seeds.SCENES["random_size"]
    monkeypatch.setitem(more_seeds.SCENES, "random_size", replace(scenes, further=()))
    monkeypatch.setattr(networks, "TEST_SCENES", 8)
    said = []
    monkeypatch.setattr(networks, "said", lambda model, split: said.append((model, split)) or torch.tensor(
        [40.0, -0.4] * 8 if len(said) == 1 else [-60.0, 0.8] * 8, dtype=torch.float64
    ))  # fmt: skip
    trained_by = yaml.safe_load(Path("params.yaml").read_text())["fusion"]
    for sensor in ("rgb", "lidar"):
        arguments = {"fusion": sensor, "downsampling": "strided", "xyz_centre": [0.0, 0.0, 0.0], "xyz_scale": 50.0}
        path = Path(f"models/random_size/fusion/{sensor}-strided/seed-51.pt")
        model = normalised_fusion.build(**arguments)
        save_checkpoint(path, model, "normalised_fusion", arguments, trained_by[sensor], 51)
    monkeypatch.setattr(sys, "argv", ["more_seeds.py", "--scenes", "random_size", "--variants", "decision-strided"])
    more_seeds.main()
    right = json.loads(scenes.results.read_text())["right"]
    assert right["fusion/decision-strided"] == {"51": "2" * 8}  # a cube and a sphere, however sure one is of the other
    assert len(said) == 2


def test_trained_jointly_it_is_the_same_network(networks, project, monkeypatch):
    settings = yaml.safe_load(Path("params.yaml").read_text())
    settings["fusion"]["rgb"]["epochs"] = 1
    os.link(project / "data/packed.pt", project / "data/random_size.pt")
    model = networks.train_here("joint", "strided", 51, settings, torch.device("cpu"))
    test = load_split(packed.load(Path("data/packed.pt")), "test", torch.device("cpu"))
    assert torch.allclose(sum(logits_of(part, test) for part in model.networks), logits_of(model, test), atol=1e-6)


def test_networks_that_other_params_trained_are_not_taken_for_the_studys(more_seeds, study, project, monkeypatch):
    settings = yaml.safe_load(Path("params.yaml").read_text())
    settings["fusion"]["add"]["lr"] *= 2
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(UserError, match=r"seed-51.pt was trained by other params than those of params.yaml; run"):
        more_seeds.main()
    assert not study.results.exists()


def test_a_loss_that_is_no_number_is_said_of_several_losses_too(networks, project):
    settings = yaml.safe_load(Path("params.yaml").read_text())
    settings["fusion"]["rgb"] |= {"epochs": 1, "lr": 1e30}
    os.link(project / "data/packed.pt", project / "data/random_size.pt")
    with pytest.raises(UserError, match=r"in a batch of cubes .* and spheres"):
        networks.train_here("auxiliary", "strided", 51, settings, torch.device("cpu"))


def test_with_auxiliary_losses_each_part_learns_from_its_own_loss_too(networks, project):
    settings = yaml.safe_load(Path("params.yaml").read_text())
    settings["fusion"]["rgb"]["epochs"] = 1
    os.link(project / "data/packed.pt", project / "data/random_size.pt")
    plain, supervised = (
        networks.train_here(fusion, "strided", 51, settings, torch.device("cpu")) for fusion in ("joint", "auxiliary")
    )
    test = load_split(packed.load(Path("data/packed.pt")), "test", torch.device("cpu"))
    together, *apart = (logits_of(model, test) for model in (supervised, *supervised.networks))
    assert torch.allclose(sum(apart), together, atol=1e-6)
    assert not torch.allclose(logits_of(plain, test), together, atol=1e-4)
    label = test.label
    by_three = binary_cross_entropy_with_logits(
        supervised.train()(*test.inputs(slice(None))), label.unsqueeze(1).expand(-1, 3)
    )
    by_each = [binary_cross_entropy_with_logits(logits, label) for logits in (together, *apart)]
    assert by_three.item() == pytest.approx(sum(by_each).item() / 3, rel=1e-5)
