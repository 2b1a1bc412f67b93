"""The subset stage: splits by scene, the grouped FiftyOne export, and reading that export without FiftyOne."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
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
from cilp.subset.splits import cut_scenes, draw_splits

REPOSITORY = Path(__file__).parents[1]
SIZES = {"subset": 5, "test": 3, "valid_fraction": 0.4, "seed": 51}
PARAMS = "data: {source: folder, subset: 5, test: 3, valid_fraction: 0.4, splits: given, split_seed: 51}\n"
LONELY = 3  # the scene without a sphere


def twins(scenes, split=""):
    return [Pair(scene, label, split) for scene in scenes for label in CLASSES]


def by_scene(pairs):
    """The split of every scene, of which both objects must be there and share it."""
    splits = {pair.index: pair.split for pair in pairs}
    assert pairs == [Pair(scene, label, split) for scene, split in splits.items() for label in CLASSES]
    return splits


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Ten scenes in the raw layout, one of them without its sphere; every class has calibration of its own."""
    root = tmp_path_factory.mktemp("project") / "data" / "raw"
    rng = np.random.default_rng(0)
    pairs = [pair for pair in twins(range(10)) if pair != Pair(LONELY, "sphere")]
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
    return draw_splits(read_manifest(raw / "manifest.csv"), **SIZES)


@pytest.fixture(scope="module")
def scenes(drawn):
    return by_scene(drawn)


@pytest.fixture(scope="module")
def exported(raw, drawn, tmp_path_factory):
    target = tmp_path_factory.mktemp("exported") / "subset"
    grouped.export_grouped(raw, drawn, target)
    return target


@pytest.fixture
def broken(exported, tmp_path):
    """A copy of the export to damage: ``edit(name, change)`` applies ``change`` to one of its JSON documents."""
    target = shutil.copytree(exported, tmp_path / "subset")

    def edit(name, change):
        document = json.loads((target / name).read_text())
        change(document)
        (target / name).write_text(json.dumps(document))

    return target, edit


def tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


# --- splits


def test_splits_have_the_sizes_asked_for_and_do_not_overlap():
    splits = by_scene(draw_splits(twins(range(50)), subset=30, test=10, valid_fraction=0.2, seed=51))
    assert Counter(splits.values()) == {"train": 24, "val": 6, "test": 10}
    assert list(splits) == sorted(splits) and set(splits) < set(range(50))


def test_splits_depend_on_the_seed_and_not_on_the_order_of_pairs():
    pairs = twins(range(50))
    shuffled = random.Random(0).sample(pairs, len(pairs))
    sizes = {"subset": 30, "test": 10, "valid_fraction": 0.2}
    assert draw_splits(pairs, **sizes, seed=51) == draw_splits(shuffled, **sizes, seed=51)
    assert draw_splits(pairs, **sizes, seed=51) != draw_splits(pairs, **sizes, seed=52)


def test_only_scenes_with_both_classes_are_drawn():
    lonely = [Pair(scene, CLASSES[scene % 2]) for scene in range(100, 120)]
    splits = by_scene(draw_splits(lonely + twins(range(8)), **SIZES))
    assert set(splits) == set(range(8))


def test_given_splits_are_honoured_whatever_the_sizes_say():
    pairs = twins(range(4), "train") + twins([4, 5], "val") + twins([6], "test") + twins([7, 8])
    given = draw_splits(pairs, **SIZES)
    assert by_scene(given) == dict(zip(range(7), ["train"] * 4 + ["val"] * 2 + ["test"], strict=True))
    assert not cut_scenes(given)
    one_sided = [Pair(0, "cube", "train"), Pair(0, "sphere"), *twins([1], "val"), *twins([2], "test")]
    assert by_scene(draw_splits(one_sided, **SIZES)) == {0: "train", 1: "val", 2: "test"}


def test_given_splits_may_part_a_cube_from_its_sphere_which_is_told():
    cut = [Pair(7, "cube", "train"), Pair(7, "sphere", "val")]
    pairs = [*twins(range(4), "train"), *twins([5], "test"), *cut]
    assert draw_splits(pairs[::-1], **SIZES) == sorted(pairs)
    assert cut_scenes(draw_splits(pairs, **SIZES)) == [7]


def test_given_splits_can_be_drawn_anew():
    pairs = [Pair(scene, label, ("train", "val")[label == "cube"]) for scene in range(8) for label in CLASSES]
    assert draw_splits(pairs, **SIZES, splits="drawn") == draw_splits(twins(range(8)), **SIZES)


def test_a_test_split_is_taken_out_of_training_where_every_scene_is_in_a_split():
    cut = [Pair(7, "cube", "train"), Pair(7, "sphere", "val")]
    splits = draw_splits([*twins(range(6), "train"), *cut], **SIZES)
    held_out = {pair.index for pair in splits if pair.split == "test"}
    assert len(held_out) == SIZES["test"] and held_out < set(range(6))  # never one whose twin was seen in training
    assert [pair for pair in splits if pair.index == 7] == cut
    assert Counter(pair.split for pair in splits) == {"train": 2 * 3 + 1, "val": 1, "test": 2 * 3}


def test_a_missing_test_split_is_drawn_from_scenes_in_no_split():
    pairs = twins(range(4), "train") + twins([4, 5], "val") + twins(range(6, 16))
    splits = by_scene(draw_splits(pairs, **SIZES))
    held_out = {scene for scene, split in splits.items() if split == "test"}
    assert len(held_out) == SIZES["test"] and held_out < set(range(6, 16))
    assert {scene: split for scene, split in splits.items() if split != "test"} == {
        0: "train", 1: "train", 2: "train", 3: "train", 4: "val", 5: "val",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pairs", "sizes", "message"),
    [
        (twins(range(7)), {}, r"need 8 scenes .* has 7"),
        (twins(range(50)), {"valid_fraction": 0.0}, "5 scenes to train and 0 to validate"),
        (twins(range(50)), {"valid_fraction": 1.0}, "0 scenes to train and 5 to validate"),
        (twins(range(50)), {"subset": 1}, "data.subset 1"),
        (twins(range(50)), {"test": 0}, "data.test must be at least 1"),
        (twins(range(50)), {"seed": -1}, "data.split_seed"),
        (twins(range(3), "train") + twins([4], "val") + twins([5, 6]), {}, "asks for 3 scenes where 3 train"),
        (twins(range(4), "train") + twins([5], "test"), {}, "leaves val empty"),
    ],
)
def test_splits_that_cannot_be_drawn_are_refused(pairs, sizes, message):
    with pytest.raises(UserError, match=message):
        draw_splits(pairs, **(SIZES | sizes))


# --- export


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
        [sys.executable, REPOSITORY / "stages" / "subset.py"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "PYTHONHASHSEED": "7", **environment},
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
    assert tree(project / "data" / "subset") == tree(exported)
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
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
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
    lonely = twins([LONELY], "train")
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
    subprocess.run(
        [sys.executable, "-c", script], check=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    )


def published(root, names):
    """An export as the published dataset has it: no scene, no pcd, tags on the rgb slice, names with suffixes."""
    (root / "data").mkdir(parents=True)
    samples = []
    for number, (label, name, split) in enumerate(names):
        for slice_, suffix in (("lidar", ".npy"), ("rgb", ".png")):
            (root / "data" / (name + suffix)).touch()
            samples.append(
                {
                    "filepath": f"data/{name}{suffix}",
                    "tags": [split] if slice_ == "rgb" else [],
                    "label": {"_cls": "Classification", "label": label} if slice_ == "rgb" else None,
                    "group": {"_id": {"$oid": f"{number:024x}"}, "_cls": "Group", "name": slice_},
                }
            )
    info = {f"{name}_{label}s": lidar_angles().tolist() for label in CLASSES for name in ("azimuth", "zenith")}
    (root / "samples.json").write_text(json.dumps({"samples": samples}))
    (root / "metadata.json").write_text(json.dumps({"info": info}))
    return root


@pytest.mark.parametrize(
    ("names", "scenes"),
    [
        (("0053", "0053-2", "0007", "0007-2"), (53, 53, 7, 7)),
        (("a", "b", "c", "d"), (0, 0, 1, 1)),
        (("1", "2", "1-2", "3"), (0, 0, 1, 1)),
    ],
    ids=["numbers", "no numbers", "a number twice in a class"],
)
def test_the_published_form_is_read_too(names, scenes, tmp_path):
    objects = zip(("cube", "sphere") * 2, names, ("train", "train", "val", "val"), strict=True)
    records = read_export(published(tmp_path / "hub", objects)).records
    assert [(record.rgb_path.stem, record.scene) for record in records] == list(zip(names, scenes, strict=True))
    assert [record.split for record in records] == ["train", "train", "val", "val"]


def first(key, value):
    """A change of the first sample, the rgb slice of a cube."""
    return lambda document: document["samples"][0].update({key: value})


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("samples.json", first("label", {"label": "cone"}), "label 'cone'; label it one of cube, sphere"),
        ("samples.json", first("label", None), "label None"),
        ("samples.json", first("tags", []), "exactly one of train, val, test"),
        ("samples.json", first("tags", ["train", "test"]), "exactly one of train, val, test"),
        ("samples.json", first("group", {}), "without group and slice"),
        ("samples.json", first("scene", "1"), "scene '1'"),
        ("samples.json", first("filepath", None), "outside of"),
        ("samples.json", first("filepath", "../secret.png"), "outside of"),
        ("samples.json", first("filepath", "data/nothing.png"), "nothing.png is missing"),
        ("samples.json", lambda document: document["samples"].pop(0), "lacks the slice rgb"),
        ("samples.json", lambda document: document["samples"].clear(), "lists no samples"),
        ("samples.json", lambda document: document.clear(), "lists no samples"),
        ("metadata.json", lambda document: document["info"].pop("zenith_spheres"), "zenith_spheres"),
        ("metadata.json", lambda document: document["info"]["azimuth_cubes"].pop(), "64 angles"),
        ("metadata.json", lambda document: document.pop("info"), "azimuth_cubes"),
    ],
)
def test_a_broken_export_is_refused_with_the_file_and_the_cure(name, change, message, broken):
    target, edit = broken
    edit(name, change)
    (target.parent / "secret.png").touch()
    with pytest.raises(UserError, match=message) as caught:
        read_export(target)
    assert str(target) in str(caught.value)


def test_an_object_that_stands_twice_is_refused(broken):
    target, edit = broken
    scenes = [record.scene for record in read_export(target).records]
    edit("samples.json", lambda document: [sample.update(scene=min(scenes)) for sample in document["samples"]])
    with pytest.raises(UserError, match="twice"):
        read_export(target)


def test_files_that_are_no_export_are_refused(broken):
    target, _ = broken
    (target / "samples.json").write_text("{")
    with pytest.raises(UserError, match=r"samples\.json is no valid JSON"):
        read_export(target)
    with pytest.raises(UserError, match=r"metadata\.json is missing"):
        read_export(target / "data")


def test_media_may_be_links_into_a_cache(broken, tmp_path):
    target, _ = broken
    shutil.move(target / "data", tmp_path / "cache")
    (target / "data").mkdir()
    for path in (tmp_path / "cache").iterdir():
        (target / "data" / path.name).symlink_to(path)
    assert read_export(target).records
