"""The FiftyOne App: the dataset that it shows, and the command that serves it."""

import os
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import psutil
import pytest
import requests
import torch
from bits import contents
from clone import ROOT
from PIL import Image

from cilp import app, packed
from cilp.app.dataset import TEST_SET, build, load_subset
from cilp.app.embeddings import PLOTS, add_embeddings
from cilp.app.media import draw_range_image, replace_media, set_scene
from cilp.app.predictions import MISTAKES, add_predictions, field_name
from cilp.app.server import listen
from cilp.embeddings import embed_all, load_embeddings, save_embeddings
from cilp.errors import UserError
from cilp.evaluation.table import Prediction, read_predictions, write_predictions
from cilp.models import cilp
from cilp.packing import pack
from cilp.raw.exported import read_export
from cilp.raw.layout import CLASSES, Pair, class_folder, lidar_path, rgb_path, write_calibration
from cilp.report.contact_sheet import as_the_camera_sees_it
from cilp.sensors import MAX_RANGE, lidar_angles, point_cloud, ray_directions
from cilp.subset.database import connect
from cilp.subset.grouped import SLICES, export_grouped, write_pcd
from cilp.training.inputs import load_split

CPU = torch.device("cpu")
SPLIT_OF = {0: "train", 1: "train", 2: "train", 3: "val", 4: "val", 5: "test", 6: "test"}
EMBEDDER = {
    "rgb": "shading", "xyz_centre": [0.0, 25.0, 0.0], "xyz_scale": 5.0, "zero_background": True, "initialisation": "he"
}  # fmt: skip
MODELS = {"fusion/late-maxpool": "late_maxpool", "lidar": "lidar", "rgb2lidar": "rgb2lidar"}
WRONG = {(4, "sphere"): ["rgb2lidar"], (5, "cube"): ["late_maxpool", "rgb2lidar"], (6, "sphere"): ["late_maxpool"]}
"""Fields of the models that mistake an object, on the first seed."""


def predictions():
    """Of each model, on both seeds; the second seed is wrong throughout."""
    for model, field in MODELS.items():
        for seed in (51, 52):
            for scene, split in SPLIT_OF.items():
                for label, name in enumerate(CLASSES):
                    wrong = field in WRONG.get((scene, name), []) or seed == 52
                    if split != "train":
                        yield Prediction(model, seed, split, scene, label, 0.9 if bool(label) != wrong else 0.2)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with subset, packed data, predictions and embeddings, all made up."""
    root = tmp_path_factory.mktemp("project")
    raw = root / "raw"
    rng = np.random.default_rng(0)
    pairs = [Pair(scene, label, split) for scene, split in SPLIT_OF.items() for label in CLASSES]
    for label in CLASSES:
        for kind in ("rgb", "lidar"):
            (class_folder(raw, label) / kind).mkdir(parents=True)
        write_calibration(raw, label, lidar_angles(), lidar_angles())
    for pair in pairs:
        Image.fromarray(rng.integers(0, 256, (64, 64, 4), dtype=np.uint8)).save(rgb_path(raw, pair))
        depth = np.full((64, 64), MAX_RANGE, dtype=np.float32)
        depth[20:30, 25:40] = rng.uniform(20, 30, (10, 15))
        np.save(lidar_path(raw, pair), depth)
    export_grouped(raw, pairs, root / app.SUBSET)
    packed.save(pack(read_export(root / app.SUBSET)), root / app.PACKED)
    write_predictions(root / app.PREDICTIONS, predictions())
    torch.manual_seed(1)
    model, data = cilp.build(**EMBEDDER).eval(), packed.load(root / app.PACKED)
    splits = {split: load_split(data, split, CPU) for split in packed.SPLITS}
    save_embeddings(root / app.EMBEDDINGS / "seed-51.pt", embed_all([model.rgb, model.lidar], splits))
    (root / "params.yaml").write_text("seeds: [51, 52]\ndevice: cpu\n")
    return root


@pytest.fixture(scope="module")
def untouched(project):
    """Contents of every file under ``data``, before anything is opened."""
    return contents(project / "data")


@pytest.fixture(scope="module")
def dataset(project, untouched, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        dataset = build(tmp_path_factory.mktemp("pictures"), 51)
    yield dataset
    dataset.delete()


@pytest.fixture
def bare(project, monkeypatch):
    """The dataset as it is loaded, with nothing added to it."""
    monkeypatch.chdir(project)
    monkeypatch.setattr("cilp.app.dataset.DATASET_NAME", "bare")
    dataset = load_subset(app.SUBSET)
    yield dataset
    dataset.delete()


def by_object(samples, *fields):
    """Values of fields, by scene and class."""
    return dict(zip(zip(*samples.values(["scene", "label.label"]), strict=True),
                    zip(*samples.values(list(fields)), strict=True), strict=True))  # fmt: skip


# --- the dataset


def test_every_object_has_a_picture_a_drawn_range_image_and_a_scene(dataset, project):
    assert dataset.group_media_types == {"rgb": "image", "lidar": "image", "pcd": "3d"}
    assert dataset.default_group_slice == "rgb"
    for group in dataset.iter_groups():
        assert set(group) == set(SLICES)
        ((scene, label, split),) = {(sample.scene, sample.label.label, *sample.tags) for sample in group.values()}
        assert SPLIT_OF[scene] == split
        exported = {
            name: str(project / app.SUBSET / f"data/{name}/{label}-{scene:04d}{SLICES[name]}") for name in SLICES
        }
        assert group["rgb"].filepath == exported["rgb"]
        assert (group["lidar"].file, group["pcd"].file) == (exported["lidar"], exported["pcd"])
    assert len(dataset) == len(SPLIT_OF) * len(CLASSES)


def test_range_images_are_drawn_as_the_camera_sees_them_near_brighter_than_far(dataset):
    for sample in dataset.select_group_slices("lidar"):
        with Image.open(sample.filepath) as picture:
            drawn = np.asarray(picture.convert("L"), dtype=int)
        seen = as_the_camera_sees_it(np.load(sample.file))
        hit = seen < MAX_RANGE
        assert drawn.shape == (64, 64)
        np.testing.assert_array_equal(drawn > 0, hit)
        assert (np.diff(drawn[hit][seen[hit].argsort()]) <= 0).all()
        assert len(set(drawn[hit])) > 50


def test_a_range_image_without_returns_is_drawn_black(tmp_path):
    np.save(tmp_path / "empty.npy", np.full((64, 64), MAX_RANGE, dtype=np.float32))
    with Image.open(draw_range_image(tmp_path / "empty.npy", tmp_path / "picture")) as picture:
        assert not np.asarray(picture.convert("RGB")).any()


def test_scenes_show_the_exported_point_cloud_and_look_at_its_middle(dataset):
    fo = connect()
    for sample in dataset.select_group_slices("pcd"):
        scene = fo.Scene.from_fo3d(sample.filepath)
        (cloud,) = scene.children
        assert cloud.pcd_path == sample.file
        calibration = [dataset.info[f"{angles}_{sample.label.label}s"] for angles in ("azimuth", "zenith")]
        range_image = np.load(sample.file.replace("/pcd/", "/lidar/").replace(".pcd", ".npy"))
        points = point_cloud(range_image, ray_directions(*calibration))
        middle = (points.min(axis=0) + points.max(axis=0)) / 2
        np.testing.assert_allclose(scene.camera.look_at.to_arr(), middle, atol=1e-4)
        assert np.linalg.norm(scene.camera.position.to_arr() - middle) == pytest.approx(11, abs=1e-3)
        assert scene.camera.up == "Z"


def test_a_point_cloud_without_points_is_shown_empty(tmp_path):
    write_pcd(tmp_path / "empty.pcd", np.empty((0, 3)))
    scene = connect().Scene.from_fo3d(str(set_scene(tmp_path / "empty.pcd", tmp_path / "scene")))
    assert [cloud.pcd_path for cloud in scene.children] == [str(tmp_path / "empty.pcd")]


def test_the_export_is_left_as_it_was(dataset, project, untouched):
    assert contents(project / "data") == untouched


@pytest.mark.parametrize("name", SLICES)
def test_each_model_says_what_it_said_on_the_first_seed_with_its_confidence(dataset, name):
    samples = dataset.select_group_slices(name)
    for field in MODELS.values():
        said = by_object(samples, f"{field}.label", f"{field}.confidence")
        for (scene, label), (predicted, confidence) in said.items():
            if SPLIT_OF[scene] == "train":
                assert (predicted, confidence) == (None, None)
            elif field in WRONG.get((scene, label), []):
                assert predicted == CLASSES[1 - CLASSES.index(label)]
                assert confidence == pytest.approx(0.8 if label == "sphere" else 0.9)
            else:
                assert predicted == label
                assert confidence == pytest.approx(0.9 if label == "sphere" else 0.8)


@pytest.mark.parametrize("name", SLICES)
def test_mistakes_are_counted_and_named_on_every_slice(dataset, name):
    found = by_object(dataset.select_group_slices(name), "wrong", "wrong_models")
    for (scene, label), (wrong, models) in found.items():
        expected = WRONG.get((scene, label), [])
        assert (wrong, models) == ((None, None) if SPLIT_OF[scene] == "train" else (len(expected), expected))


@pytest.mark.parametrize("name", SLICES)
def test_saved_views_hold_the_mistakes_and_the_test_set_whichever_slice_is_shown(dataset, name):
    dataset.group_slice = name
    try:
        mistakes = dataset.load_saved_view(MISTAKES)
        assert set(by_object(mistakes, "wrong")) == set(WRONG)
        assert mistakes.values("wrong") == [2, 1, 1]
        held_out = by_object(dataset.load_saved_view(TEST_SET), "id")
        assert {scene for scene, _ in held_out} == {5, 6} and len(held_out) == 4
    finally:
        dataset.group_slice = "rgb"
    assert {view["name"] for view in map(dataset.get_saved_view_info, dataset.list_saved_views())
            if view["description"]} == {MISTAKES, TEST_SET}  # fmt: skip


def test_embeddings_lie_where_their_own_objects_are(dataset, project):
    export, data = read_export(project / app.SUBSET), packed.load(project / app.PACKED)
    seen = load_embeddings(project / app.EMBEDDINGS / "seed-51.pt")
    keys = [(record.scene, record.label) for record in export.records]
    assert dataset.list_brain_runs() == sorted(PLOTS)
    ids = {id_: key for key, (id_,) in by_object(dataset.select_group_slices("rgb"), "id").items()}
    for name, modality in PLOTS.items():
        of_split = {split: iter(seen[modality][split].embedding) for split in packed.SPLITS}
        embeddings = np.stack([next(of_split[packed.SPLITS[split]]).numpy() for split in data.split])
        results = dataset.load_brain_results(name)
        order = [keys.index(ids[id_]) for id_ in results.sample_ids]
        assert sorted(order) == list(range(len(keys)))
        centred = embeddings - embeddings.mean(axis=0)
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        expected = (centred @ axes[:2].T)[order]
        expected *= np.sign((results.points * expected).sum(axis=0))  # an axis may point either way
        np.testing.assert_allclose(results.points, expected, atol=1e-4)


# --- what is missing


def test_without_predictions_and_embeddings_the_subset_opens_all_the_same(bare, project, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(app, "PREDICTIONS", tmp_path / "predictions.csv")
    monkeypatch.setattr(app, "EMBEDDINGS", tmp_path)
    dataset = build(tmp_path, 51)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("without predictions") and "dvc repro predict" in line]
    assert [line for line in lines if line.startswith("without embeddings")
            and "dvc repro embed" in line and "dvc pull" in line]  # fmt: skip
    assert dataset.list_saved_views() == [TEST_SET] and not dataset.has_brain_runs
    assert dataset.group_media_types["lidar"] == "image"


def test_a_missing_subset_is_refused_with_the_cure(tmp_path):
    with pytest.raises(UserError, match=r"subset is missing; .*dvc repro subset.*dvc pull"):
        load_subset(tmp_path / "subset")


def test_a_damaged_range_image_is_named(bare, tmp_path):
    (tmp_path / "cube-0001.npy").write_bytes(b"no array")
    samples = bare.select_group_slices("lidar")
    samples.set_values("filepath", [str(tmp_path / "cube-0001.npy")] * len(samples))
    with pytest.raises(UserError, match=r"cube-0001\.npy cannot be read .*dvc repro --force subset"):
        replace_media(bare, "lidar", draw_range_image, tmp_path)


def test_predictions_of_other_seeds_or_objects_are_refused(bare):
    rows = read_predictions(app.PREDICTIONS)
    with pytest.raises(UserError, match=r"no predictions of seed 53; .*dvc repro predict"):
        add_predictions(bare, rows, 53)
    for split, scene in (("test", 99), ("test", 0)):
        with pytest.raises(UserError, match=r"not in the subset, .*dvc repro predict"):
            add_predictions(bare, [*rows, Prediction("lidar", 51, split, scene, 0, 0.1)], 51)
    assert not bare.has_field("wrong") and not bare.has_field("lidar")


def test_embeddings_of_other_objects_are_refused(bare):
    data, seen = packed.load(app.PACKED), load_embeddings(app.EMBEDDINGS / "seed-51.pt")
    fewer = {modality: {**splits, "test": splits["train"].select(torch.arange(1))} for modality, splits in seen.items()}
    with pytest.raises(UserError, match=r"other objects .*dvc repro embed"):
        add_embeddings(bare, data, fewer)
    data.scene[0] = 99
    with pytest.raises(UserError, match=r"other objects .*dvc repro pack"):
        add_embeddings(bare, data, seen)


@pytest.mark.parametrize("model", MODELS)
def test_models_become_fields(model):
    assert field_name(model) == MODELS[model] and field_name(model).isidentifier()


# --- serving


def test_a_port_in_use_is_refused_in_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=rf"127\.0\.0\.1:{port} cannot be served .*--port"):
            listen("127.0.0.1", port)
    with pytest.raises(UserError, match="--port"):
        listen("127.0.0.1", 70000)


def test_an_address_that_is_not_here_is_refused_by_its_own_option():
    with pytest.raises(UserError, match=r"^192\.0\.2\.1:0 cannot be served .* with --address\.$"):  # RFC 5737: nowhere
        listen("192.0.2.1", 0)
    with pytest.raises(UserError, match=r"^\[2001:db8::1\]:0 cannot be served .* with --address\.$"):
        listen("2001:db8::1", 0)


def test_the_app_answers_on_loopback_and_ctrl_c_ends_it_with_its_database(project, untouched, tmp_path):
    """Even while a page is open; below nohup a terminal that is closed does not."""
    temporary, home = tmp_path / "temporary", tmp_path / "home"
    temporary.mkdir()
    home.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(temporary), "HOME": str(home)}
    served = subprocess.Popen(
        ["sh", "-c", "trap '' HUP; exec \"$@\"", "nohup", sys.executable, "-m", "cilp.app", "--port", "0"],
        cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    watchdog = threading.Timer(120, served.kill)
    watchdog.start()
    try:
        lines = []
        while not lines or not lines[-1].startswith("The App is at "):
            line = served.stdout.readline()
            assert line, served.stderr.read()
            lines.append(line)
        url = lines[-1].split()[4].rstrip(";")
        assert "version" in requests.get(f"{url}/fiftyone", timeout=60).json()
        assert "<title>FiftyOne</title>" in requests.get(f"{url}/datasets/multimodal-shapes", timeout=60).text
        picture = next(temporary.glob("cilp-app-*/*.png"))
        shown = requests.get(f"{url}/media", params={"filepath": str(picture)}, timeout=60)
        assert shown.content == picture.read_bytes()
        page = requests.post(
            f"{url}/events",
            json={"initializer": {"dataset": None, "view": None}, "events": ["state_update"], "subscription": "page"},
            stream=True, timeout=60,
        )  # fmt: skip
        assert page.status_code == 200 and next(page.iter_lines()) is not None

        processes = psutil.Process(served.pid).children(recursive=True)
        assert "mongod" in [process.name() for process in processes]
        addresses = {
            connection.laddr.ip
            for process in [psutil.Process(served.pid), *processes]
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert addresses == {"127.0.0.1"}
        served.send_signal(signal.SIGHUP)
        assert requests.get(f"{url}/fiftyone", timeout=60).ok
        served.send_signal(signal.SIGINT)
        output, errors = served.communicate(timeout=60)
    finally:
        watchdog.cancel()
        served.kill()
    assert (served.returncode, output, errors) == (0, "", "")
    assert not any(process.is_running() for process in processes)
    assert list(temporary.glob("cilp-*")) == []
    assert contents(home) == {}
    assert contents(project / "data") == untouched
