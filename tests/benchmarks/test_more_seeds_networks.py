"""The networks of ``benchmarks/more_seeds.py``: how they are trained, and which are taken as they are."""

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from clone import ROOT
from torch.nn.functional import binary_cross_entropy_with_logits

from cilp import packed
from cilp.errors import UserError
from cilp.evaluation.audit import rendered
from cilp.models import normalised_fusion
from cilp.params import section
from cilp.simulation.scenes import SimulateParams
from cilp.training.checkpoint import save_checkpoint
from cilp.training.classifier import logits_of
from cilp.training.inputs import load_split


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


def test_decision_level_fusion_is_what_the_networks_of_one_sensor_say_together(
    more_seeds, networks, project, monkeypatch
):
    record = more_seeds.RECORDS["random_size"]
    monkeypatch.setitem(more_seeds.RECORDS, "random_size", replace(record, further=()))
    monkeypatch.setattr(networks, "TEST_SCENES", 8)
    said = []
    monkeypatch.setattr(networks, "logits_on", lambda model, split: said.append((model, split)) or torch.tensor(
        [40.0, -0.4] * 8 if len(said) == 1 else [-60.0, 0.8] * 8, dtype=torch.float64
    ))  # fmt: skip
    settings = yaml.safe_load(Path("params.yaml").read_text())
    trained_by = settings["fusion"]
    for sensor in ("rgb", "lidar"):
        arguments = networks.normalised(sensor, "strided", settings)
        path = Path(f"models/random_size/fusion/{sensor}-strided/seed-51.pt")
        model = normalised_fusion.build(**arguments)
        save_checkpoint(path, model, "normalised_fusion", arguments, trained_by[sensor], 51)
    monkeypatch.setattr(sys, "argv", ["more_seeds.py", "--record", "random_size", "--variants", "decision-strided"])
    more_seeds.main()
    right = json.loads(record.results.read_text())["right"]
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


def test_the_networks_of_the_study_are_taken_if_they_were_trained_alike(more_seeds):
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    taken = {name: record.trained_by(settings) for name, record in more_seeds.RECORDS.items()}
    seeds, random = settings["seeds"], settings["random_size"]["seeds"]
    assert {name: it["seeds"] for name, it in taken.items() if name != "longer"} == dict.fromkeys(
        more_seeds.RECORDS.keys() - {"longer"}, seeds
    )
    assert taken["longer"]["seeds"] == []
    assert {name: (it["random_size"]["lr_factor"], it["random_size"]["seeds"]) for name, it in taken.items()} == {
        **dict.fromkeys(more_seeds.RECORDS, (0.5, random)), "random_size": (1.0, []),
        "half_rate_fine": (0.5, []), "course_fine": (0.5, []),
    }  # fmt: skip
    units = {name: it["embedder"]["xyz_scale"] for name, it in taken.items()}
    assert units == {**dict.fromkeys(taken, 5.0), "half_rate_fine": 1.5, "course_fine": 1.5}
    assert taken["longer"]["fusion"]["rgb"] == {**settings["fusion"]["rgb"], "epochs": 100}
    assert all(it["fusion"] == settings["fusion"] for name, it in taken.items() if name != "longer")


def test_on_random_sizes_further_seeds_are_trained_by_the_stage_and_asked_about_scenes_of_their_own(
    more_seeds, networks, project, monkeypatch, capfd
):
    record = more_seeds.RECORDS["random_size"]
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setattr(networks, "TEST_SCENES", 3)
    (project / "stages").mkdir()
    shutil.copy(ROOT / "stages/train_random_size.py", project / "stages")
    os.link(project / "data/packed.pt", project / "data/random_size.pt")
    settings = yaml.safe_load(Path("params.yaml").read_text())
    arguments, trained_by = networks.normalised("add", "strided", settings), settings["fusion"]["add"]
    of_the_study = Path("models/random_size/fusion/add-strided/seed-51.pt")
    save_checkpoint(of_the_study, normalised_fusion.build(**arguments), "normalised_fusion", arguments, trained_by, 51)
    monkeypatch.setattr(sys, "argv", ["more_seeds.py", "--record", "random_size", "--variants", "add-strided"])
    more_seeds.main()
    right = json.loads(record.results.read_text())["right"]
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
    assert record.figure.is_file() and not more_seeds.RECORDS["study"].results.exists()
    settings["embedder"]["xyz_scale"] *= 2
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    record.results.unlink()
    with pytest.raises(UserError, match=r"seed-51.pt was trained by other params than those of params.yaml; run"):
        more_seeds.main()
