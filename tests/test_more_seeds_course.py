import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from clone import merge
from synthetic import make_packed
from torch import nn

from cilp.classifiers.images import course_of
from cilp.training.inputs import load_split

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")


@pytest.fixture
def course(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
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


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_a_network_is_trained_once_and_kept_for_the_params_that_made_it(course, settings, splits, capsys):
    first = course.network("fusion/add-strided", 51, settings, *splits)
    assert "add-strided, course, seed 51: 24/24 samples" in capsys.readouterr().out
    again = course.network("fusion/add-strided", 51, settings, *splits)
    assert capsys.readouterr().out == "" and torch.equal(weights(first), weights(again))
    settings["image_classifier"]["lr"] *= 10
    faster = course.network("fusion/add-strided", 51, settings, *splits)
    assert not torch.equal(weights(first), weights(faster))
    assert [str(path) for path in course.NETWORKS.rglob("*.pt")] == ["models/course/fusion/add-strided/seed-51.pt"]


def test_less_than_all_of_the_course_is_another_training(course, settings, splits, capsys):
    names = ["concat", *course.IN_PART]
    models = {name: course.network(f"fusion/{name}-strided", 51, settings, *splits) for name in names}
    said = capsys.readouterr().out
    samples = len(splits[0])
    assert f"concat_he-strided, course, seed 51: {2 * samples}/{2 * samples} samples" in said  # its own two epochs
    assert all(f"{name}-strided, course, seed 51: 24/24 samples" in said for name in names if name != "concat_he")
    found = {tuple(weights(model).tolist()) for model in models.values()}
    assert len(found) == len(names)


def test_every_layer_begins_as_he_et_al_have_it(course, settings):
    arguments = course.normalised("concat", "maxpool", settings)
    torch.manual_seed(0)
    layers = [layer for layer in course.begun_as_he(**arguments).modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == 7
    for layer in layers:
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / layer.weight[0].numel()), rel=0.15)
        assert not layer.bias.any()


def test_a_batch_holds_both_shapes_of_its_scenes_and_is_varied_as_the_course_says(course, settings, splits):
    train, _ = splits
    taken = course_of(settings)
    plain = replace(taken, mirror=False, permute_colours=False)
    for how, most in ((taken, 24), (plain, 1)):
        batches = course.varied(train, how, 0)
        drawn = [next(batches) for _ in range(60)]
        assert 1 <= len({view for _, view in drawn}) <= most and (most == 1 or len({view for _, view in drawn}) > 10)
        for rows, _ in drawn:
            assert train.scene[rows].unique(return_counts=True)[1].tolist() == [2] * 4
