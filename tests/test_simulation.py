"""The simulator: exact geometry, the statistics of the rendered originals, scenes that depend on (seed, i) alone."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import numpy as np
import pytest
from bits import contents
from clone import ROOT
from PIL import Image

from cilp import params as params_file
from cilp.errors import UserError
from cilp.raw.decode import read_calibration
from cilp.raw.layout import CLASSES, Pair, lidar_path, rgb_path
from cilp.raw.simulate import simulate
from cilp.simulation import processes
from cilp.simulation.camera import decode_srgb, encode_srgb
from cilp.simulation.raycast import Cube, range_image
from cilp.simulation.scenes import SimulateParams, draw, render

DEFAULTS = params_file.section(params_file.load(ROOT / "params.yaml"), "data.simulate", SimulateParams)
SAMPLE = 300
SILHOUETTE = 1e-6
"""Metres: a ray that passes an object's surface by less may count as a hit or as a miss."""


# A brute-force reference, which shares nothing with the code but the scene: signed distances, searched along each ray.


def signed_distance(scene, label, points):
    """Metres from points (..., 3) to the surface, negative inside."""
    if label == "sphere":
        return np.linalg.norm(points - scene.sphere.centre, axis=-1) - scene.sphere.radius
    local = np.abs((points - scene.cube.centre) @ scene.cube.rotation) - scene.cube.edge / 2
    return np.linalg.norm(np.maximum(local, 0), axis=-1) + np.minimum(local.max(axis=-1), 0)


def search(scene, label, rays):
    """Range of the entry point (inf for a miss) and the least signed distance along each ray (..., 3).

    The distance to a convex body is a convex function along a ray: a ternary search finds its minimum, and bisection
    before that point the entry.
    """
    distance = lambda t: signed_distance(scene, label, t[..., None] * rays)  # noqa: E731
    low, high = np.zeros(rays.shape[:-1]), np.full(rays.shape[:-1], 50.0)
    for _ in range(90):
        third = (high - low) / 3
        left = distance(low + third) < distance(high - third)
        low, high = np.where(left, low, low + third), np.where(left, high - third, high)
    deepest = distance(low)
    low, high = np.zeros_like(low), low
    for _ in range(50):
        middle = (low + high) / 2
        inside = distance(middle) < 0
        low, high = np.where(inside, low, middle), np.where(inside, middle, high)
    return np.where(deepest < 0, high, np.inf), deepest


@pytest.mark.parametrize("label", CLASSES)
def test_lidar_agrees_with_a_brute_force_search(label):
    angles = np.deg2rad((np.arange(64) - 32) * 0.5).astype(np.float32).astype(np.float64)
    a, e = -angles[:, None], -angles[None, :]
    rays = np.stack(np.broadcast_arrays(np.sin(a) * np.cos(e), np.cos(a) * np.cos(e), np.sin(e)), axis=-1)
    for index in range(6):
        scene = draw(DEFAULTS, index)
        image = range_image(scene.shape(label))
        expected, deepest = search(scene, label, rays)
        certain = np.abs(deepest) > SILHOUETTE
        hit = np.isfinite(expected)
        assert image.dtype == np.float32
        assert certain.mean() > 0.999
        assert np.array_equal((image < 50)[certain], hit[certain])
        assert np.all(image[~hit & certain] == 50.0)
        np.testing.assert_allclose(image[hit & certain], expected[hit & certain], rtol=0, atol=1e-4)


@pytest.mark.parametrize("label", CLASSES)
def test_camera_agrees_with_a_brute_force_rendering(label):
    params = replace(DEFAULTS, antialiasing=1, ambient=0.1)
    pixel = (np.arange(64) + 0.5) / 32 - 1
    slope = pixel * np.tan(np.radians(params.camera_fov / 2))
    rays = np.stack(np.broadcast_arrays(slope[None, :], 1.0, -slope[:, None]), axis=-1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    for index in range(6):
        scene = draw(params, index)
        reached, deepest = search(scene, label, rays)
        point = np.where(np.isfinite(reached), reached, 0)[..., None] * rays
        steps = 1e-5 * np.eye(3)
        normal = np.stack(
            [signed_distance(scene, label, point + s) - signed_distance(scene, label, point - s) for s in steps], -1
        )
        length = np.linalg.norm(normal, axis=-1)
        facing = np.maximum((normal * scene.light).sum(-1) / length, 0)
        light = np.where(np.isfinite(reached), params.ambient + params.light_intensity * facing, 0)
        expected = 255 * encode_srgb(np.minimum(light[..., None] * scene.albedo, 1))

        image = params.camera.picture(scene.shape(label), scene.light, scene.albedo)
        on_a_face = np.abs(length / 2e-5 - 1) < 1e-3  # the difference straddles no edge
        certain = (np.abs(deepest) > SILHOUETTE) & (on_a_face | np.isinf(reached))
        assert certain.mean() > 0.999
        # 1 level: half for rounding, the rest for the normal by differences where the encoding is steepest
        np.testing.assert_allclose(image[certain][:, :3].astype(float), expected[certain], rtol=0, atol=1)
        assert np.all(image[..., 3] == 255)


def test_antialiasing_averages_linear_light():
    scene = draw(DEFAULTS, 0)
    fine, coarse = (
        replace(DEFAULTS, antialiasing=n, light_intensity=0.5).camera.picture(scene.cube, scene.light, scene.albedo)
        for n in (16, 4)
    )
    light = decode_srgb(fine[..., :3] / 255), decode_srgb(coarse[..., :3] / 255)
    assert np.abs(light[0] - light[1]).max() < 0.25 * light[0].max()
    assert light[0].sum() == pytest.approx(light[1].sum(), rel=0.02)
    levels = [len(np.unique(image[..., :3].max(-1))) for image in (fine, coarse)]
    assert levels[0] > levels[1] > 4, "edges shade off in steps, finer ones with more rays"


def test_srgb_round_trip():
    values = np.linspace(0, 1, 256)
    np.testing.assert_allclose(encode_srgb(decode_srgb(values)), values, atol=1e-6)
    assert encode_srgb(np.array(0.2140411)) == pytest.approx(0.5, abs=1e-6)  # the standard's mid grey


# What the default params give.


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """The first scenes of the default data, read back: class -> (images (n, 64, 64, 4), range images (n, 64, 64))."""
    root = tmp_path_factory.mktemp("raw")
    pairs = simulate(root, SAMPLE, DEFAULTS, processes=1)
    assert pairs == [Pair(index, label) for index in range(SAMPLE) for label in CLASSES]
    data = {}
    for label in CLASSES:
        azimuth, zenith = read_calibration(root, label)
        assert azimuth.dtype == zenith.dtype == np.float32
        mine = [pair for pair in pairs if pair.label == label]
        images = np.stack([np.asarray(Image.open(rgb_path(root, pair))) for pair in mine])
        ranges = np.stack([np.load(lidar_path(root, pair), allow_pickle=False) for pair in mine])
        data[label] = images, ranges
    return data


def test_files_hold_rgba_bytes_and_float32_ranges(sample):
    for images, ranges in sample.values():
        assert images.shape == (SAMPLE, 64, 64, 4) and images.dtype == np.uint8
        assert ranges.shape == (SAMPLE, 64, 64) and ranges.dtype == np.float32
        assert np.all(images[..., 3] == 255)
        assert ranges.max() == 50.0


def test_statistics_of_the_rendered_originals(sample):
    rgb = np.concatenate([images[..., :3] for images, _ in sample.values()]) / 255
    assert rgb.mean() == pytest.approx(0.0052, abs=0.0012)
    assert rgb.std() == pytest.approx(0.059, abs=0.006)
    counts = {label: (ranges < 50).sum(axis=(1, 2)).mean() for label, (_, ranges) in sample.items()}
    assert counts == pytest.approx({"cube": 280, "sphere": 145}, rel=0.08)


def test_share_of_dark_cubes(sample):
    """Light from the far octant reaches none of three visible faces; a cube seen on two or one is dark more often."""
    dark = {label: (images[..., :3].max(axis=(1, 2, 3)) == 0).mean() for label, (images, _) in sample.items()}
    assert 0.08 < dark["cube"] < 0.22
    assert dark["sphere"] < 0.03


def test_objects_lie_inside_both_fields_of_view(sample):
    for images, ranges in sample.values():
        for image in (images[..., :3].max(axis=-1), ranges < 50):
            border = np.concatenate([image[:, [0, -1], :].ravel(), image[:, :, [0, -1]].ravel()])
            assert not border.any()


def test_both_sensors_see_the_object_in_the_same_place():
    params = replace(DEFAULTS, light_intensity=0.0, ambient=1.0, colour=(1.0, 1.0), antialiasing=1)
    for index in range(8):
        scene = draw(params, index)
        for label in CLASSES:
            picture = params.camera.picture(scene.shape(label), scene.light, scene.albedo)[..., 0] > 0
            azimuth, zenith = np.nonzero(range_image(scene.shape(label)) < 50)
            right, up = np.tan(np.deg2rad(32 - azimuth) / 2), np.tan(np.deg2rad(32 - zenith) / 2)
            up = up / np.cos(np.deg2rad(32 - azimuth) / 2)  # slope z / y of a ray at that azimuth
            pixels_per_slope = 32 / np.tan(np.radians(params.camera_fov / 2))
            rows, columns = np.nonzero(picture)
            assert columns.mean() == pytest.approx(31.5 + pixels_per_slope * right.mean(), abs=0.5)
            assert rows.mean() == pytest.approx(31.5 - pixels_per_slope * up.mean(), abs=0.5)


# What a scene depends on.


def drawn(params, count=1000):
    return [draw(params, index) for index in range(count)]


def test_twins_share_everything_but_the_shape():
    for scene in drawn(DEFAULTS, 20):
        assert scene.cube.centre is scene.sphere.centre


def test_orientation_and_light_are_uniform():
    scenes = drawn(DEFAULTS)
    rotations = np.stack([scene.cube.rotation for scene in scenes])
    lights = np.stack([scene.light for scene in scenes])
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.broadcast_to(np.eye(3), rotations.shape), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(lights, axis=1), 1, atol=1e-12)
    # each coordinate of a uniform direction is uniform in [-1, 1]; 1.95 / sqrt(n) is exceeded once in 1,000 times
    for coordinate in (*rotations.reshape(-1, 9).T, *lights.T):
        distribution = (np.sort(coordinate) + 1) / 2
        assert np.abs(distribution - (np.arange(len(scenes)) + 0.5) / len(scenes)).max() < 1.95 / len(scenes) ** 0.5


def test_sizes_fill_their_range():
    scenes = drawn(replace(DEFAULTS, cube_edge=(2.0, 3.0), sphere_radius=(1.25, 1.75)), 200)
    for sizes, low, high in (
        ([scene.cube.edge for scene in scenes], 2.0, 3.0),
        ([scene.sphere.radius for scene in scenes], 1.25, 1.75),
    ):
        span = high - low
        assert low <= min(sizes) < low + 0.05 * span and high - 0.05 * span < max(sizes) <= high


def test_a_changed_param_changes_only_what_it_governs():
    scene = draw(DEFAULTS, 3)
    bright = replace(DEFAULTS, light_intensity=1.0, ambient=0.2, colour=(0.5, 1.0))
    assert np.array_equal(range_image(draw(bright, 3).cube), range_image(scene.cube))
    large = draw(replace(DEFAULTS, sphere_radius=(1.75, 1.75)), 3)
    assert np.array_equal(large.cube.rotation, scene.cube.rotation)
    assert np.array_equal(large.light, scene.light) and np.array_equal(large.albedo, scene.albedo)


def test_another_seed_gives_other_scenes():
    here, there = draw(DEFAULTS, 0), draw(replace(DEFAULTS, seed=DEFAULTS.seed + 1), 0)
    assert not np.array_equal(here.cube.centre, there.cube.centre)
    assert not np.array_equal(here.light, there.light)


def test_bytes_depend_on_neither_processes_nor_chunks_nor_the_number_of_scenes(tmp_path, monkeypatch):
    simulate(tmp_path / "one", 20, DEFAULTS, processes=1)
    monkeypatch.setattr(processes, "CHUNK", 3)
    simulate(tmp_path / "two", 20, DEFAULTS, processes=2)
    monkeypatch.setattr(processes, "CHUNK", 1)
    simulate(tmp_path / "fewer", 7, DEFAULTS, processes=1)
    whole = contents(tmp_path / "one")
    assert contents(tmp_path / "two") == whole
    fewer = contents(tmp_path / "fewer")
    assert len(fewer) == 2 * (2 * 7 + 2)
    assert fewer.items() <= whole.items()


def test_scenes_come_in_the_order_in_which_they_were_asked_for(monkeypatch):
    monkeypatch.setattr(processes, "CHUNK", 2)
    scenes = [9, 3, 3, 7, 0]
    expected = [view for scene in scenes for view in render(DEFAULTS, scene)]
    for number in (1, 2):
        with processes.rendering(DEFAULTS, scenes, number) as rendered:
            found = list(rendered)
        assert [label for label, _, _ in found] == ["cube", "sphere"] * 5
        for ours, theirs in zip(found, expected, strict=True):
            assert np.array_equal(ours[1], theirs[1]) and np.array_equal(ours[2], theirs[2])


def test_who_stops_listening_ends_the_work():
    start = time.monotonic()
    with pytest.raises(ZeroDivisionError), processes.rendering(DEFAULTS, range(100_000), 2) as rendered:
        next(rendered)
        1 / 0  # noqa: B018
    assert time.monotonic() - start < 20  # all of it takes minutes


# Errors and interruption.


@pytest.mark.parametrize("scenes", [0, -1, 10_000])
def test_number_of_scenes_out_of_range(tmp_path, scenes):
    with pytest.raises(UserError, match="between 1 and 9999"):
        simulate(tmp_path, scenes, DEFAULTS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("cube_edge", [3.0, 2.0]),
        ("sphere_radius", [0.0, 1.0]),
        ("distance", [30.0, 20.0]),
        ("distance", [20.0, 48.0]),
        ("distance", [20.0, float("nan")]),
        ("lateral", -1.0),
        ("camera_fov", 180.0),
        ("light_intensity", -0.1),
        ("ambient", float("inf")),
        ("colour", [0.0, 1.5]),
        ("antialiasing", 0),
    ],
)
def test_params_out_of_range_are_named(name, value):
    lists = {key: list(old) if isinstance(old, tuple) else old for key, old in asdict(DEFAULTS).items()}
    with pytest.raises(UserError, match=f"^data.simulate.{name} must "):
        params_file.section({"data": {"simulate": lists | {name: value}}}, "data.simulate", SimulateParams)


@pytest.mark.parametrize("processes", [1, 2])
def test_an_object_without_a_place_in_view(tmp_path, processes):
    params = replace(DEFAULTS, distance=(5.0, 6.0))
    with pytest.raises(UserError, match=r"raise data\.simulate\.distance"):
        simulate(tmp_path, 2, params, processes)


INTERRUPTED = """
import sys
from pathlib import Path
from cilp import params
from cilp.console import cli
from cilp.raw.simulate import simulate
from cilp.simulation.scenes import SimulateParams

if __name__ == "__main__":
    defaults = params.section(params.load(), "data.simulate", SimulateParams)
    cli.run(lambda: simulate(Path(sys.argv[1]), 9999, defaults, processes=2))
"""


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_to_all_processes_ends_them_with_one_line(tmp_path, number, code, word):
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    process = subprocess.Popen(
        [sys.executable, script, tmp_path / "raw"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored in background jobs
    )
    try:
        first, deadline = rgb_path(tmp_path / "raw", Pair(0, "cube")), time.monotonic() + 60
        while not first.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, number)  # as a terminal does: to parent and children
        _, errors = process.communicate(timeout=60)  # ends once the last process has closed its stderr
    finally:
        process.kill()
    assert (process.returncode, errors) == (code, f"{word}\n")
    assert len(list((tmp_path / "raw").rglob("*.png"))) < 2 * 9999


def test_a_ray_parallel_to_faces_of_a_cube_meets_it_between_them_alone():
    cube = Cube(np.array([0.0, 20.0, 0.0]), 3.0, np.eye(3))
    ahead = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    with np.errstate(all="raise"):
        distance, normal = cube.intersect(ahead)
    assert distance.tolist() == [18.5, np.inf, np.inf]
    assert normal[0].tolist() == [0.0, -1.0, 0.0]
    beside = Cube(np.array([2.0, 20.0, 0.0]), 3.0, np.eye(3))
    assert beside.intersect(ahead)[0].tolist() == [np.inf] * 3
    touching = Cube(np.array([1.5, 20.0, 0.0]), 3.0, np.eye(3))
    assert touching.intersect(ahead)[0][0] == 18.5
