"""Reading a grouped FiftyOne export without FiftyOne: what it may hold, and what is refused."""

import json
import math
import re
import shutil

import pytest
from fuzz.exports import deep, write_export
from fuzz.mutations import png

from cilp.errors import UserError
from cilp.packing import pack
from cilp.raw import exported, hub
from cilp.raw.exported import read_export
from cilp.raw.layout import CLASSES, Pair
from cilp.sensors import lidar_angles


@pytest.fixture
def export(tmp_path):
    return write_export(tmp_path / "export")


def change_document(export, name, change):
    document = json.loads((export / name).read_text())
    change(document)
    (export / name).write_text(json.dumps(document))


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


def info(key, value):
    return lambda document: document["info"].update({key: value})


def sample(key, value):
    """A change of the first sample, the rgb slice of a cube."""
    return lambda document: document["samples"][0].update({key: value})


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("samples.json", sample("label", {"label": "cone"}), "label 'cone'; label it one of cube, sphere"),
        ("samples.json", sample("label", None), "label None"),
        ("samples.json", sample("tags", []), "exactly one of train, val, test"),
        ("samples.json", sample("tags", ["train", "test"]), "exactly one of train, val, test"),
        ("samples.json", sample("group", {}), "without group and slice"),
        ("samples.json", sample("scene", "1"), "scene '1'"),
        ("samples.json", sample("filepath", None), "outside of"),
        ("samples.json", sample("filepath", "../secret.png"), "outside of"),
        ("samples.json", sample("filepath", "data/nothing.png"), "nothing.png is missing"),
        ("samples.json", lambda document: document["samples"].pop(0), "lacks the slice rgb"),
        ("samples.json", lambda document: document["samples"].clear(), "lists no samples"),
        ("samples.json", lambda document: document.clear(), "lists no samples"),
        ("metadata.json", lambda document: document["info"].pop("zenith_spheres"), "zenith_spheres"),
        ("metadata.json", lambda document: document["info"]["azimuth_cubes"].pop(), "64 angles"),
        ("metadata.json", lambda document: document.pop("info"), "azimuth_cubes"),
    ],
)
def test_a_broken_export_is_refused_with_the_file_and_the_cure(export, name, change, message):
    change_document(export, name, change)
    (export.parent / "secret.png").touch()
    with pytest.raises(UserError, match=message) as caught:
        read_export(export)
    assert str(export) in str(caught.value)


def test_an_object_that_stands_twice_is_refused(export):
    change_document(export, "samples.json", lambda document: [one.update(scene=0) for one in document["samples"]])
    with pytest.raises(UserError, match="has the cube of scene 0 twice"):
        read_export(export)


def test_files_that_are_no_export_are_refused(export):
    (export / "samples.json").write_text("{")
    with pytest.raises(UserError, match=r"samples\.json is no valid JSON"):
        read_export(export)
    with pytest.raises(UserError, match=r"metadata\.json is missing"):
        read_export(export / "data")


def test_media_may_be_links_into_a_cache(export, tmp_path):
    before = read_export(export).records
    shutil.move(export / "data", tmp_path / "cache")
    for path in [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]:
        link = export / "data" / path.relative_to(tmp_path / "cache")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    assert read_export(export).records == before != []
    assert all(record.rgb_path.is_symlink() and record.lidar_path.is_symlink() for record in before)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("metadata.json", lambda document: document.update(info=[1]), "azimuth_cubes"),
        ("metadata.json", info("azimuth_cubes", [180.0] * 64), "64 angles in radians"),
        ("metadata.json", info("azimuth_cubes", [math.nan] * 64), "64 angles in radians"),
        ("metadata.json", info("azimuth_cubes", [math.inf] * 64), "64 angles in radians"),
        ("metadata.json", info("azimuth_cubes", [10**400] * 64), "64 angles in radians"),
        ("metadata.json", info("azimuth_cubes", ["0.1"] * 64), "64 angles in radians"),
        ("metadata.json", info("azimuth_cubes", [True] * 64), "64 angles in radians"),
        ("samples.json", sample("tags", 5), "split tags 5"),
        ("samples.json", sample("tags", {"train": 1}), "split tags"),
        ("samples.json", sample("scene", True), "scene True"),
        ("samples.json", sample("scene", 10**30), "from 0 to 999,999,999"),
        ("samples.json", sample("label", {"label": deep(100)}), "label .*cubes?|label"),
        ("samples.json", sample("filepath", "data/" + "x" * 5000), "is missing"),
        ("samples.json", sample("filepath", deep(100)), "outside of"),
        ("samples.json", sample("filepath", "."), "outside of|is missing"),
        ("samples.json", sample("group", {"_id": {"$oid": []}, "name": "rgb"}), "without group and slice"),
        ("samples.json", sample("group", {"_id": {"$oid": "0"}, "name": {}}), "without group and slice"),
        ("samples.json", lambda document: document["samples"].append(document["samples"][0]), "slice 'rgb' twice"),
        ("samples.json", sample("filepath", "data/rgb/sphere-0000.png"), "names .* 2 times"),
    ],
)  # fmt: skip
def test_a_value_that_no_export_has_is_refused(export, name, change, message):
    change_document(export, name, change)
    with pytest.raises(UserError, match=message) as caught:
        read_export(export)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("text", ["[" * 100_000, '{"samples":' * 100_000, "[1]", "", "\0"])
def test_json_that_is_no_document_is_refused(export, text):
    (export / "samples.json").write_text(text)
    with pytest.raises(UserError, match=re.escape(str(export / "samples.json"))):
        read_export(export)


def test_json_without_end_is_not_read(export, monkeypatch):
    monkeypatch.setattr(exported, "MAX_JSON_BYTES", 10)
    with pytest.raises(UserError, match="it is longer than"):
        read_export(export)


@pytest.mark.parametrize("value", ["[]", "{}", "1"])
def test_json_of_more_values_than_any_export_has_is_not_parsed(export, monkeypatch, value):
    """A short document may hold values that fill the memory."""
    monkeypatch.setattr(exported, "MAX_JSON_VALUES", 1000)
    (export / "samples.json").write_text(f'{{"samples": [{", ".join([value] * 1001)}]}}')
    with pytest.raises(UserError, match="it holds more than 1,000 values"):
        read_export(export)


def test_an_image_whose_name_is_a_number_beyond_all_scenes_is_numbered_by_position(export):
    def rename(document):
        for number, entry in enumerate(document["samples"]):
            del entry["scene"]
            path = export / entry["filepath"]
            entry["filepath"] = f"data/{10**12 + number}{path.suffix}"
            path.rename(export / entry["filepath"])

    change_document(export, "samples.json", rename)
    assert {record.scene for record in read_export(export).records} == {0, 1}


def test_a_link_to_what_is_no_image_is_not_packed(export, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (export / "data/rgb/cube-0000.png").unlink()
    (export / "data/rgb/cube-0000.png").symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="not a PNG file"):
        pack(read_export(export))


def test_media_of_the_hub_that_cannot_be_used_are_listed(export, tmp_path):
    bad = {"data/rgb/cube-0000.png": png() + bytes(2**20), "data/lidar/sphere-0001.npy": b""}
    for name, data in bad.items():
        (export / name).write_bytes(data)
    (tmp_path / "target").mkdir()
    pairs, report = hub.import_export(export, tmp_path / "target", hub.HubParams("owner/name", "main"), "0" * 40)
    assert pairs == [Pair(0, "sphere", "train"), Pair(1, "cube", "val")]
    assert sorted(report.rows) == [
        ("data/lidar/cube-0000.npy", "its partner is unusable"),
        ("data/lidar/sphere-0001.npy", "empty file"),
        ("data/rgb/cube-0000.png", "file of more than 1 MiB"),
        ("data/rgb/sphere-0001.png", "its partner is unusable"),
    ]
