"""One number instead of a network: how large an object looks to the LiDAR."""

import json
import math
import runpy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from clone import ROOT

from cilp import packed, params
from cilp.evaluation.audit import conditions, rendered
from cilp.evaluation.predictions import load_classifier, probabilities
from cilp.models.size_rule import SizeRule, area_seen
from cilp.packing import pack_scenes
from cilp.sensors import ray_directions
from cilp.simulation.processes import rendering
from cilp.simulation.scenes import SimulateParams
from cilp.training.checkpoint import save_checkpoint
from cilp.training.inputs import LidarSplit, xyza

CPU = torch.device("cpu")
SETTINGS = params.load()
SIMULATION = params.section(SETTINGS, "data.simulate", SimulateParams)


def areas(simulation, scenes=40):
    """Of cubes and of spheres, (scenes,) m² each."""
    split = LidarSplit.of(rendered(simulation, scenes, 1, CPU))
    return area_seen(*split.inputs(slice(None))).unflatten(0, (-1, 2)).unbind(1)


@pytest.mark.parametrize("distance", [20.0, 30.0])
def test_a_sphere_has_nearly_the_area_of_its_disc_wherever_it_is(distance):
    """The integral of squared range over solid angle, from the middle of the sphere to where a ray is tangent."""
    radius = 1.5
    _, sphere = areas(replace(SIMULATION, distance=(distance - 0.5, distance + 0.5), lateral=2.0))
    angle = torch.linspace(0, math.asin(radius / distance), 10_000).double()
    at_range = distance * angle.cos() - (radius**2 - (distance * angle.sin()) ** 2).clamp(min=0).sqrt()
    expected = torch.trapezoid(2 * math.pi * at_range**2 * angle.sin(), angle).item()
    assert 0.88 * math.pi * radius**2 < expected < math.pi * radius**2  # its near side is nearer than its middle
    assert sphere.mean().item() == pytest.approx(expected, rel=0.02)


def test_a_cube_has_nearly_the_area_of_its_projection():
    cube, sphere = areas(SIMULATION)
    assert cube.min() > 0.85 * 9.0 and cube.max() < math.sqrt(3) * 9.0
    assert 0.9 < cube.mean() / (1.5 * 9.0) < 1.0  # Cauchy: that of a convex body is a quarter of its surface
    assert cube.mean() > 1.8 * sphere.mean()


@pytest.mark.parametrize(("azimuth", "zenith"), [(0.35, 0.35), (0.5, 0.25)])
def test_the_area_is_the_same_whatever_the_steps_of_the_rays(azimuth, zenith):
    """Of a disc of 7 m² at 25 m, seen by LiDARs that are calibrated otherwise."""
    steps = (torch.arange(64).numpy() - 32).astype("float64")
    directions = torch.from_numpy(ray_directions(np.deg2rad(steps * azimuth), np.deg2rad(steps * zenith))).float()
    seen = directions[..., 0] ** 2 + directions[..., 2] ** 2 < 7.0 / math.pi / 25.0**2
    ranges = torch.where(seen, 25.0, 50.0).unsqueeze(0)
    assert area_seen(xyza(ranges, directions)).item() == pytest.approx(7.0, rel=0.04)  # the edge falls between rays


def test_rays_without_return_do_not_count():
    assert area_seen(torch.cat([torch.full((1, 3, 64, 64), 25.0), torch.zeros(1, 1, 64, 64)], dim=1)).item() == 0.0


@pytest.mark.parametrize(
    ("area", "label", "threshold", "sign", "right"),
    [
        ([1, 2, 5, 6], [1, 1, 0, 0], 3.5, 1, 4),  # spheres are smaller
        ([6, 5, 2, 1], [1, 1, 0, 0], 3.5, -1, 4),  # or larger
        ([1, 2, 3, 5, 6], [1, 0, 1, 0, 0], 1.5, 1, 4),
        ([2, 2, 2, 3], [1, 1, 0, 0], 2.5, 1, 3),  # none between equal areas
        ([2, 2], [1, 0], 2.0, 1, 1),
    ],
)
def test_the_threshold_is_right_on_as_many_as_can_be(area, label, threshold, sign, right):
    area, label = torch.tensor(area, dtype=torch.float32), torch.tensor(label, dtype=torch.float32)
    rule = SizeRule.fit(area, label)
    assert (rule.threshold, rule.sign) == (threshold, sign)
    assert ((rule.margin(area) > 0) == (label > 0.5)).sum() == right


def test_no_threshold_is_better_than_the_one_that_is_fitted():
    generator = torch.Generator().manual_seed(0)
    area = torch.randint(0, 30, (200,), generator=generator).double()
    label = (torch.rand(200, generator=generator) < torch.sigmoid((area - 15) / 5)).float()
    rule = SizeRule.fit(area, label)
    best = max(
        ((sign * (threshold - area) > 0) == (label > 0.5)).sum()
        for sign in (1, -1)
        for threshold in torch.arange(0.5, 29.5)
    )
    assert ((rule.margin(area) > 0) == (label > 0.5)).sum() == best


def test_it_tells_the_studys_shapes_apart_and_is_fooled_where_sizes_are_swapped(tmp_path):
    cube, sphere = areas(SIMULATION)
    rule = SizeRule.fit(torch.cat([cube, sphere]), torch.tensor([0.0, 1.0]).repeat_interleave(len(cube)))
    arguments = {"threshold": rule.threshold, "sign": rule.sign}
    save_checkpoint(tmp_path / "size_rule.pt", rule, "size_rule", arguments, {}, 0)
    model = load_classifier(tmp_path, "size_rule", 51, CPU)
    share = {}
    for name, condition in conditions(SETTINGS).items():
        if name in ("trained", "swapped", "dark", "conflict"):
            split = rendered(condition.simulate, 30, 1, CPU, condition.lidar)
            share[name] = ((probabilities(model, split) > 0.5) == (split.label > 0.5)).double().mean().item()
    assert share["trained"] > 0.95 and share["swapped"] < 0.05
    assert share["dark"] == share["trained"]  # it sees no image
    assert share["conflict"] == pytest.approx(1 - share["trained"])


def test_the_stage_says_how_far_size_goes_on_every_split_that_there_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    scenes = {"train": range(0, 20), "val": range(20, 30)}
    packed.save(pack_scenes(scenes, partial(rendering, SIMULATION)), Path("data/random_size.pt"))
    stage = runpy.run_path(str(ROOT / "stages/fit_size_rule.py"))
    monkeypatch.setattr("sys.argv", ["fit_size_rule.py", "--random-size"])
    stage["main"]()
    found = json.loads(Path("metrics/size_rule/random_size.json").read_text())
    assert found.keys() == {"threshold_m2", "train_accuracy", "valid_accuracy"}
    assert found["valid_accuracy"] > 0.9 and 6.0 < found["threshold_m2"] < 9.5
    assert Path("models/random_size/size_rule.pt").is_file()
    assert "valid_accuracy" in capsys.readouterr().out
