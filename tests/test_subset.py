"""The subset stage: the grouped FiftyOne export, which reads as it was written."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
from bits import contents
from clone import ROOT
from PIL import Image

from cilp.errors import UserError
from cilp.raw.exported import read_export
from cilp.raw.layout import (
    CLASSES,
    SPLITS,
    Pair,
    class_folder,
    lidar_path,
    read_manifest,
    rgb_path,
    write_calibration,
    write_manifest,
)
from cilp.sensors import MAX_RANGE, lidar_angles, point_cloud, ray_directions
from cilp.subset import grouped
from cilp.subset.database import connect
from cilp.subset.splits import draw_splits

PARAMS = "data: {source: folder, subset: 5, test: 3, valid_fraction: 0.4, splits: given, split_seed: 51}\n"
LONELY = 3  # the scene without a sphere


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Ten scenes in the raw layout, one of them without its sphere; every class has calibration of its own."""
    root = tmp_path_factory.mktemp("project") / "data" / "raw"
    rng = np.random.default_rng(0)
    pairs = [Pair(scene, label) for scene in range(10) for label in CLASSES if (scene, label) != (LONELY, "sphere")]
    for label in CLASSES:
        for kind in ("rgb", "lidar"):
            (class_folder(root, label) / kind).mkdir(parents=True)
        azimuth, zenith = (lidar_angles() + rng.normal(0, 1e-3, 64) for _ in range(2))
        write_calibration(root, label, azimuth, zenith)
    for pair in pairs:
        Image.fromarray(rng.integers(0, 256, (64, 64, 4), dtype=np.uint8)).save(rgb_path(root, pair))
        depth = np.full((64, 64), MAX_RANGE, dtype=np.float32)
        depth[20:30, 25:40] = rng.uniform(20, 30, (10, 15))
        np.save(lidar_path(root, pair), depth)
    write_manifest(root, pairs)
    return root


@pytest.fixture(scope="module")
def drawn(raw):
    return draw_splits(read_manifest(raw / "manifest.csv"), subset=5, test=3, valid_fraction=0.4, seed=51)


@pytest.fixture(scope="module")
def scenes(drawn):
    """The split of every scene that was drawn."""
    return {pair.index: pair.split for pair in drawn}


@pytest.fixture(scope="module")
def exported(raw, drawn, tmp_path_factory):
    target = tmp_path_factory.mktemp("exported") / "subset"
    grouped.export_grouped(raw, drawn, target)
    return target


def test_fiftyone_loads_groups_labels_tags_and_calibration(exported, scenes, raw):
    fo = connect()
    dataset = fo.Dataset.from_dir(str(exported), dataset_type=fo.types.FiftyOneDataset)
    try:
        assert dataset.group_media_types == {"rgb": "image", "lidar": "unknown", "pcd": "point-cloud"}
        assert dataset.default_group_slice == "rgb"
        assert dataset.count_sample_tags() == {
            split: count * len(CLASSES) for split, count in Counter(scenes.values()).items()
        }
        for split in SPLITS:
            assert dataset.match_tags(split).count_values("label.label") == dict.fromkeys(
                CLASSES, list(scenes.values()).count(split)
            )
        for group in dataset.iter_groups():
            assert set(group) == set(grouped.SLICES)
            facts = {(sample.scene, sample.label.label, *sample.tags) for sample in group.values()}
            assert len(facts) == 1
            scene, label, split = facts.pop()
            assert scenes[scene] == split
            assert Path(group["rgb"].filepath).read_bytes() == rgb_path(raw, Pair(scene, label)).read_bytes()
        for label in CLASSES:
            for name in ("azimuth", "zenith"):
                loaded = np.array(dataset.info[f"{name}_{label}s"], dtype=np.float32)
                np.testing.assert_array_equal(loaded, np.load(class_folder(raw, label) / f"{name}.npy"))
    finally:
        dataset.delete()


def test_point_clouds_hold_the_returns_of_the_range_image(exported, raw):
    record = read_export(exported).records[0]
    path = exported / "data/pcd" / f"{record.rgb_path.stem}.pcd"
    header, points = path.read_bytes().split(b"DATA binary\n", 1)
    folder = class_folder(raw, record.label)
    directions = ray_directions(np.load(folder / "azimuth.npy"), np.load(folder / "zenith.npy"))
    expected = point_cloud(np.load(record.lidar_path), directions)
    assert f"POINTS {len(expected)}\n".encode() in header
    np.testing.assert_array_equal(np.frombuffer(points, "<f4").reshape(-1, 3), expected.astype(np.float32))


def run_stage(project, code=0, **environment):
    """Lines that it printed; what it says on stderr, if it is to fail."""
    done = subprocess.run(
        [sys.executable, ROOT / "stages" / "subset.py"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONHASHSEED": "7", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr if code == 0 else "") == (code, "")
    return done.stdout.splitlines() if code == 0 else done.stderr


def test_the_stage_repeats_the_export_byte_for_byte_and_leaves_no_other_trace(raw, exported):
    """In another process with another hash seed, over the result of an earlier run."""
    project = raw.parents[1]
    (project / "params.yaml").write_text(PARAMS)
    (project / "data" / "subset").mkdir()
    (project / "data" / "subset" / "stale.txt").touch()
    with tempfile.TemporaryDirectory() as temporary:
        lines = run_stage(project, TMPDIR=temporary)
        assert list(Path(temporary).glob("cilp-*")) == []
    assert "16 objects (train 6, val 4, test 6)" in lines[-1]
    assert contents(project / "data" / "subset") == contents(exported)
    assert sorted(path.name for path in (project / "data").iterdir()) == ["raw", "subset"]


def test_a_configured_database_server_is_left_as_it_was(raw):
    from pymongo import MongoClient

    project = raw.parents[1]
    (project / "params.yaml").write_text(PARAMS)
    fiftyone = connect()
    fiftyone.list_datasets()
    uri = f"mongodb://localhost:{fiftyone.core.odm.database._db_service.port}"
    with MongoClient(uri) as client:
        client["fiftyone"]["datasets"].insert_one({"name": "mine"})
        before = client.list_database_names()
        run_stage(project, FIFTYONE_DATABASE_URI=uri, FIFTYONE_DATABASE_VALIDATION="false")
        assert client.list_database_names() == before
        assert client["fiftyone"]["datasets"].count_documents({}) == 1


def test_a_configured_database_server_that_is_down_is_one_sentence_without_its_password(raw):
    project = raw.parents[1]
    (project / "params.yaml").write_text(PARAMS)
    uri = "mongodb://user:SECRET@127.0.0.1:9/?connectTimeoutMS=200"
    done = run_stage(project, code=2, FIFTYONE_DATABASE_URI=uri, FIFTYONE_DATABASE_VALIDATION="false")
    assert re.search(r"error: The MongoDB server of FIFTYONE_DATABASE_URI, .* does not answer \(\w+\); start it", done)
    assert "Traceback" not in done and "SECRET" not in done


@pytest.mark.parametrize("failure", [UserError, KeyboardInterrupt])
def test_a_failed_export_leaves_nothing_behind(failure, raw, drawn, tmp_path, monkeypatch):
    def fail(*_):
        raise failure

    monkeypatch.setattr(grouped, "_copy_media", fail)
    (tmp_path / "subset").mkdir()
    (tmp_path / "subset" / "earlier.txt").touch()
    with pytest.raises(failure):
        grouped.export_grouped(raw, drawn, tmp_path / "subset")
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["subset", "subset/earlier.txt"]
    assert connect().list_datasets() == []


def test_fiftyones_server_is_its_own_and_dies_with_the_process_that_started_it(tmp_path):
    script = (
        "import os, psutil, signal; from cilp.subset.database import connect\n"
        "if __name__ == '__main__':\n"
        "    connect().list_datasets()\n"
        "    print(*[p.pid for p in psutil.Process().children(recursive=True) if p.name() == 'mongod'], flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    connect().list_datasets()  # a server is up already, which must not be joined
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    environment["TMPDIR"] = str(tmp_path)  # a killed process leaves the database's files behind
    killed = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment)
    (server,) = killed.stdout.readline().split()
    killed.wait()
    assert killed.returncode < 0
    deadline = time.monotonic() + 30
    while psutil.pid_exists(int(server)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(int(server))


def test_files_missing_from_the_raw_data_are_named(raw, tmp_path):
    lonely = [Pair(LONELY, label, "train") for label in CLASSES]
    with pytest.raises(UserError, match=r"spheres/rgb/0003\.png cannot be read"):
        grouped.export_grouped(raw, lonely, tmp_path / "subset")


# --- reading the export


def test_reading_gives_back_what_was_exported(exported, scenes, raw):
    export = read_export(exported)
    expected = [
        (scene, label, split)
        for split in SPLITS
        for scene in sorted(scenes)
        for label in CLASSES
        if scenes[scene] == split
    ]
    assert [(record.scene, record.label, record.split) for record in export.records] == expected
    for record in export.records:
        pair = Pair(record.scene, record.label)
        assert record.rgb_path.read_bytes() == rgb_path(raw, pair).read_bytes()
        assert record.lidar_path.read_bytes() == lidar_path(raw, pair).read_bytes()
    for label, angles in export.calibration.items():
        for name, values in zip(("azimuth", "zenith"), angles, strict=True):
            assert values.dtype == np.float32
            np.testing.assert_array_equal(values, np.load(class_folder(raw, label) / f"{name}.npy"))


def test_reading_needs_no_fiftyone():
    script = (
        "import sys; sys.modules['fiftyone'] = None; import cilp.raw.exported, cilp.subset.splits, cilp.subset.grouped"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
