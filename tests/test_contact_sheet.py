import runpy
from dataclasses import replace

import numpy as np
import pytest
import torch
from clone import ROOT
from matplotlib import pyplot
from synthetic import make_packed

from cilp import packed
from cilp.errors import UserError
from cilp.report.contact_sheet import View, as_the_camera_sees_it, draw_contact_sheet, from_the_side
from cilp.sensors import lidar_angles, point_cloud, ray_directions


def test_the_range_image_is_turned_as_the_camera_sees_it():
    """Rows go down along z and columns to the right along x."""
    directions = ray_directions(lidar_angles(), lidar_angles())
    turned = as_the_camera_sees_it(directions)
    assert (np.diff(turned[..., 0], axis=1) > 0).all()
    assert (np.diff(turned[..., 2], axis=0) < 0).all()


def test_point_clouds_are_turned_and_not_bent():
    points = np.random.default_rng(0).normal([1, 25, -2], 1.5, (50, 3))
    seen = from_the_side(points)
    between = [np.linalg.norm(cloud[:, None] - cloud[None], axis=2) for cloud in (points, seen)]
    np.testing.assert_allclose(*between, atol=1e-9)
    upright = from_the_side(np.array([[0.0, 25.0, -1.0], [0.0, 25.0, 1.0]]))
    assert upright[1, 1] > upright[0, 1] and upright[1, 0] == upright[0, 0]


def test_an_object_without_a_return_has_an_empty_point_cloud(tmp_path):
    """Range images of misses alone are legal."""
    assert from_the_side(np.empty((0, 3))).shape == (0, 3)
    nothing = View("cube 1", np.zeros((64, 64, 4), np.uint8), np.full((64, 64), 50, np.float32), np.empty((0, 3)))
    draw_contact_sheet([[nothing, nothing]], tmp_path / "sheet.png")
    assert pyplot.imread(tmp_path / "sheet.png").shape[2] == 4


def test_without_a_pair_to_draw_it_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["draw_scenes.py"])
    whole = make_packed(train=4, val=0, test=0)
    cubes = {name: getattr(whole, name)[::2] for name in ("rgb", "range", "label", "scene", "split", "sensor")}
    packed.save(replace(whole, **cubes), tmp_path / "data/packed.pt")
    with pytest.raises(UserError, match="no cube or no sphere to train on"):
        runpy.run_path(str(ROOT / "stages/draw_scenes.py"))["main"]()


@pytest.mark.parametrize(
    ("kept", "pairs"),
    [
        ([0, 1, 2, 4, 5, 7], [(0, 0), (2, 2)]),  # of scenes 1 and 3 the splits left one shape
        ([0, 3, 4, 7], [(0, 1), (2, 3)]),  # of every scene
    ],
)
def test_cube_and_sphere_are_of_one_scene_where_splits_leave_both(kept, pairs):
    both_shapes = runpy.run_path(str(ROOT / "stages/draw_scenes.py"))["both_shapes"]
    whole = make_packed(train=4, val=0, test=0)
    rows = torch.tensor(kept)
    pixels = {name: getattr(whole, name)[rows] for name in ("rgb", "range", "label", "scene", "split", "sensor")}
    data = replace(whole, **pixels)
    found = both_shapes(data)
    assert [tuple(data.scene[pair].tolist()) for pair in found] == pairs
    assert all(data.label[pair].tolist() == [0, 1] for pair in found)


def test_the_sheet_repeats_byte_for_byte_and_shows_what_it_is_given(tmp_path):
    rng = np.random.default_rng(0)

    def view(title):
        ranges = np.full((64, 64), 50, dtype=np.float32)
        ranges[20:30, 20:30] = rng.uniform(20, 30, (10, 10))
        points = point_cloud(ranges, ray_directions(lidar_angles(), lidar_angles()))
        return View(title, rng.integers(0, 256, (64, 64, 4), dtype=np.uint8), ranges, points)

    columns = [[view("cube 1"), view("sphere 1")], [view("cube 2"), view("sphere 2")]]
    for name, sheet in (("a", columns), ("b", columns), ("c", columns[::-1])):
        draw_contact_sheet(sheet, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()
