"""Every reader of outside data against mutated inputs (``fuzz``), and the cases that have a name.

    CILP_FUZZ=10000 python -m pytest -s tests/test_fuzz_readers.py -k mutated

runs so many inputs instead of the few of every day, and prints what became of them.
"""

import contextlib
import json
import math
import os
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzz.exports import EXPORTED, deep, export_documents
from fuzz.mutations import bomb, chunk, chunks, npy, png
from fuzz.runner import READERS
from fuzz.trees import PAIRS
from fuzz.trees import tree as raw_tree
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from synthetic import make_packed

from cilp import packed
from cilp.atomic import check_archive
from cilp.errors import UserError
from cilp.models import projector
from cilp.packing import pack, pack_unlabelled
from cilp.raw import archive, exported, hub, layout
from cilp.raw.decode import Unusable, decode_angles, decode_range, decode_rgb, read_calibration
from cilp.raw.exported import read_export
from cilp.raw.folder import import_tree
from cilp.raw.layout import CLASSES, SPLITS, Pair, lidar_path, read_manifest, rgb_path, write_manifest
from cilp.sensors import MAX_RANGE, lidar_angles, point_cloud, ray_directions
from cilp.subset import grouped
from cilp.training.checkpoint import load_checkpoint, save_checkpoint

ROOT = Path(__file__).parents[1]
INPUTS = int(os.environ.get("CILP_FUZZ", "300"))
PROPERTIES = settings(max_examples=60, derandomize=True, deadline=None, database=None)


@pytest.fixture(scope="module")
def outcomes():
    """What ``python -m fuzz`` says, run in a process of its own, which may crash, hang or run out of memory."""
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "--inputs", str(INPUTS)],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60 + INPUTS,
        check=False,
    )
    assert done.returncode in (0, 1), f"status {done.returncode} at the input named last:\n{done.stderr[-3000:]}"
    found = json.loads(done.stdout)
    for reader, counts in found["counts"].items():
        shown = ", ".join(f"{outcome} {count:,}" for outcome, count in counts.items())
        print(f"{reader}: {sum(counts.values()):,} inputs: {shown}")
    return found


@pytest.mark.timeout(60 + INPUTS)
def test_mutated_inputs_are_read_rightly_or_refused_with_a_reason(outcomes):
    assert not outcomes["failures"], "\n".join(outcomes["failures"])
    assert sum(sum(counts.values()) for counts in outcomes["counts"].values()) >= INPUTS


@pytest.mark.parametrize("reader", READERS)
def test_mutated_inputs_reach_behind_the_first_check(outcomes, reader):
    """Some are accepted, most are refused: else the mutations would test nothing."""
    counts = outcomes["counts"][reader]
    total = sum(counts.values())
    assert total < 50 or counts["unchanged"] + counts["other, valid"] > 0
    assert counts["refused"] > total / 3


MISBEHAVED = """
import json, sys, tempfile, time
from pathlib import Path
import numpy as np
from fuzz import runner as fuzz

outside = Path(tempfile.mkdtemp())
def writes(rng, place):
    (outside / "evil").write_text("x")
def takes_memory(rng, place):
    np.empty(3 * 2**29, dtype=np.uint8)
def hides_an_allocation(rng, place):
    try:
        np.empty(2**60, dtype=np.uint8)
    except MemoryError:
        raise fuzz.Unusable("damaged") from None
def hangs(rng, place):
    time.sleep(60)
def raises(rng, place):
    raise KeyError("x")
def leaves_a_file(rng, place):
    (place.inputs.parent / "scratch" / "left").write_text("x")
fuzz.SECONDS = 1
fuzz.READERS = {f.__name__: (f, 0.1) for f in (writes, hides_an_allocation, hangs, raises, leaves_a_file, takes_memory)}
print(json.dumps(fuzz.run([*fuzz.READERS], 10, 0)))
"""


def test_a_reader_that_misbehaves_is_noticed():
    done = subprocess.run(
        [sys.executable, "-c", MISBEHAVED],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    counts, failures = json.loads(done.stdout)
    assert all(outcomes["FAILED"] == 1 for outcomes in counts.values())
    expected = ["touched .*evil", "memory: ", "more than 1 s", "KeyError", "temporary file", "more than 1 GiB"]
    for failure, words in zip(failures, expected, strict=True):
        assert re.search(words, failure), failure


# --- properties


@PROPERTIES
@given(
    arrays.arrays(
        st.sampled_from([np.float32, np.float64, np.int32, np.dtype(">f4")]),
        st.sampled_from([(64, 64), (64, 63), (4096,), (1, 64, 64), (0, 64)]),
        elements={"min_value": -10, "max_value": 60},
        fill=st.sampled_from([20, 50]),
    )
)
@example(np.full((64, 64), 20, dtype=np.float32))
@example(np.full((64, 64), np.nan, dtype=np.float32))
def test_a_range_image_is_taken_as_it_is_or_not_at_all(array):
    good = array.dtype == np.float32 and array.shape == (64, 64) and bool(((array > 0) & (array <= 50.001)).all())
    try:
        found = decode_range(npy(array))
    except Unusable:
        assert not good
    else:
        assert good
        np.testing.assert_array_equal(found, array)


@PROPERTIES
@given(
    st.lists(
        st.builds(Pair, st.integers(0, 10**9 - 1), st.sampled_from(CLASSES), st.sampled_from(["", *SPLITS])),
        unique_by=lambda pair: (pair.index, pair.label),
    )
)
def test_a_manifest_is_read_as_it_was_written(tmp_path_factory, pairs):
    folder = tmp_path_factory.mktemp("manifest")
    write_manifest(folder, pairs)
    assert read_manifest(folder / "manifest.csv") == sorted(pairs)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(CLASSES + SPLITS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """A grouped export, as it should be."""
    root = tmp_path_factory.mktemp("export")
    samples, metadata, media = export_documents()
    for name, data in media.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "samples.json").write_text(json.dumps(samples))
    (root / "metadata.json").write_text(json.dumps(metadata))
    return root


@PROPERTIES
@given(field=st.sampled_from(["filepath", "tags", "label", "scene", "group"]), value=JSON)
def test_any_value_in_a_sample_is_legal_or_refused(export, field, value):
    before = (export / "samples.json").read_text()
    document = json.loads(before)
    document["samples"][0][field] = value
    (export / "samples.json").write_text(json.dumps(document))
    try:
        records = read_export(export).records
    except UserError as error:
        assert len(str(error)) < 2000
    else:
        assert len(records) == len(EXPORTED)
        assert all(record.label in CLASSES and record.split in SPLITS for record in records)
    finally:
        (export / "samples.json").write_text(before)


# --- PNG, npy


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    return png()[:8] + b"".join(chunk(*part) for part in chunks)


HEADER, PIXELS, END = chunks(png())


@pytest.mark.parametrize("data", [bomb(), png_with(HEADER, (b"IDAT", zlib.compress(bytes(2**26))), END)])
def test_a_png_that_inflates_beyond_measure_takes_no_more_than_one_image(data):
    try:
        assert decode_rgb(data).nbytes == 16_384
    except Unusable as error:
        assert str(error) == "damaged PNG"


@pytest.mark.parametrize(
    "data",
    [
        png_with(HEADER, HEADER, PIXELS, END),
        png_with(HEADER, (b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)), PIXELS, END),
        png_with((b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 6, 1, 0, 0)), PIXELS, END),
        png_with((b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 6, 0, 1, 0)), PIXELS, END),
        png_with((b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 6, 0, 0, 2)), PIXELS, END),
    ],
    ids=["two headers", "two headers that differ", "compression", "filter", "interlace"],
)
def test_a_png_whose_header_contradicts_itself_is_refused(data):
    with pytest.raises(Unusable, match="damaged PNG"):
        decode_rgb(data)


def test_a_range_image_of_misses_alone_is_data(tmp_path):
    """An object out of the LiDAR's sight: all rays read the maximum, and the point cloud is empty."""
    misses = decode_range(npy(np.full((64, 64), MAX_RANGE, dtype=np.float32)))
    assert misses.shape == (64, 64) and (misses == MAX_RANGE).all()
    points = point_cloud(misses, ray_directions(lidar_angles(), lidar_angles()))
    grouped.write_pcd(tmp_path / "empty.pcd", points)
    assert points.shape == (0, 3)
    assert b"POINTS 0\n" in (tmp_path / "empty.pcd").read_bytes()


def test_angles_that_are_infinite_or_no_array_are_refused():
    for data in (b"", npy(np.full(64, np.inf, dtype=np.float32)), npy(np.full(64, None)), b"PK\x03\x04"):
        with pytest.raises(Unusable):
            decode_angles(data)


# --- the raw layout, packed


@pytest.fixture
def raw(tmp_path):
    """A small tree in the raw layout."""
    for name, data in raw_tree().items():
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / name).write_bytes(data)
    return tmp_path / "raw"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", npy(np.full(64, None)), npy(np.zeros(2**18))])
def test_calibration_that_cannot_be_used_is_named(raw, content):
    (raw / "cubes/zenith.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"cubes/zenith\.npy cannot be read .*acquire the raw data again"):
        read_calibration(raw, "cube")
    (raw / "cubes/zenith.npy").unlink()
    with pytest.raises(UserError, match=r"cubes/zenith\.npy cannot be read"):
        read_calibration(raw, "cube")


@pytest.mark.parametrize(
    ("path", "content", "reason"),
    [
        (lidar_path, npy(np.full((64, 64), np.nan, dtype=np.float32)), "NaN or infinite"),
        (lidar_path, npy(np.full((64, 64), -1, dtype=np.float32)), "0 m or less"),
        (lidar_path, npy(np.full((64, 64), 500, dtype=np.float32)), "over 50 m"),
        (lidar_path, b"PK\x03\x04", "not an npy file"),
        (rgb_path, png_with((b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 6, 0, 0, 0)), PIXELS, END), "20000x2"),
        (rgb_path, png()[:-20] + b"x" + png()[-19:], "damaged PNG"),
        (rgb_path, png(mode="P"), "palette"),
    ],
    ids=["nan", "negative", "far", "zip", "enormous", "wrong checksum", "palette"],
)
def test_what_the_raw_layout_must_not_hold_is_not_packed(raw, path, content, reason):
    path(raw, PAIRS[0]).write_bytes(content)
    with pytest.raises(UserError, match=reason):
        pack_unlabelled(raw, PAIRS)


# --- zip, folder


@pytest.fixture
def zipped(raw):
    """The same tree as an archive, to add to."""
    path = raw.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in raw_tree().items():
            file.writestr(name, data)
    return path


def test_a_name_that_stands_twice_in_an_archive_is_one_file_or_none(zipped, tmp_path):
    """Equal copies count once; two files that differ cost the pair, whichever came last."""
    tree = raw_tree()
    with zipfile.ZipFile(zipped, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("cubes/rgb/0000.png", tree["cubes/rgb/0000.png"])
        file.writestr("spheres/rgb/0001.png", png(99))
    pairs, report = import_tree(zipped, tmp_path / "root", 1)
    assert Pair(1, "sphere") not in pairs and len(pairs) == len(PAIRS) - 1
    assert sorted(report.rows) == [
        ("cubes/rgb/0000.png", "copy of a file that is used"),
        ("spheres/lidar/0001.npy", "range image whose image is unusable"),
        ("spheres/rgb/0001.png", "two different files for one index"),
        ("spheres/rgb/0001.png", "two different files for one index"),
    ]


def test_many_copies_of_one_file_are_not_held_in_memory_together(zipped, tmp_path, monkeypatch):
    """A few bytes each in an archive, 32 KiB each once decoded."""
    held, most = 0, 0

    class Counted(np.ndarray):
        def __new__(cls, array):
            nonlocal held, most
            held += 1
            most = max(most, held)
            return array.view(cls)

        def __array_finalize__(self, _):
            pass

        def __del__(self):
            nonlocal held
            held -= 1

    monkeypatch.setattr("cilp.raw.folder.decode_range", lambda data: Counted(decode_range(data)))
    with zipfile.ZipFile(zipped, "a", zipfile.ZIP_DEFLATED) as file:
        for copy in range(100):
            file.writestr(f"cubes/lidar/{copy}/lidar/0000.npy", raw_tree()["cubes/lidar/0000.npy"])
    pairs, report = import_tree(zipped, tmp_path / "root", 2)
    assert len(pairs) == len(PAIRS)
    assert report.counts == {"copy of a file that is used": 100}
    assert most < 10


def test_a_file_in_thousands_of_folders_is_left_out(zipped, tmp_path):
    names = [f"{number}/{'cubes/' * 10_000}rgb/0000.png" for number in range(3)]
    with zipfile.ZipFile(zipped, "a") as file:
        for name in names:
            file.writestr(name, png())
    pairs, report = import_tree(zipped, tmp_path / "root", 2)
    assert len(pairs) == len(PAIRS)
    assert sorted(report.rows) == [(name, f"in more than {archive.MAX_DEPTH - 1} folders") for name in names]


def test_members_whose_sizes_lie_cost_their_own_pairs_alone(zipped, tmp_path):
    data = bytearray(zipped.read_bytes())
    for name, size in ((b"cubes/rgb/0000.png", 10), (b"spheres/lidar/0001.npy", 2**32 - 2)):
        struct.pack_into("<I", data, data.rindex(name) - 46 + 24, size)
    zipped.write_bytes(data)
    pairs, report = import_tree(zipped, tmp_path / "root", 0)
    assert set(PAIRS) - set(pairs) == {Pair(0, "cube"), Pair(1, "sphere")}
    assert ("cubes/rgb/0000.png", "damaged in the archive") in report.rows


def test_a_64_bit_offset_beyond_the_archive_is_damage(tmp_path):
    path = tmp_path / "tree.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, data in raw_tree().items():
            info = zipfile.ZipInfo(name)
            info.extra = struct.pack("<HHQ", 0x5555, 8, 2**63 + 5) if name == "cubes/rgb/0000.png" else b""
            file.writestr(info, data)
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"cubes/rgb/0000.png") - 46
    struct.pack_into("<I", data, entry + 42, 2**32 - 1)
    struct.pack_into("<H", data, entry + 46 + len(b"cubes/rgb/0000.png"), 1)
    path.write_bytes(data)
    pairs, report = import_tree(path, tmp_path / "root", 0)
    assert set(PAIRS) - set(pairs) == {Pair(0, "cube")}
    assert ("cubes/rgb/0000.png", "damaged in the archive") in report.rows


# --- manifest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "needs the columns"),
        (b"class,index,split,split\ncube,1,,\n", "once each"),
        (b"class,index,split\ncube,1\n", "line 2 has 2 fields"),
        (b"class,index,split\ncube,1,,train\n", "line 2 has 4 fields"),
        (b"class,index,split\ncube,12345678901,\n", "index a whole number"),
        ("class,index,split\ncube,\N{ARABIC-INDIC DIGIT ONE},\n".encode(), "index a whole number"),
        (b"class,index,split\ncube," + b"7" * 5000 + b",\n", "index a whole number"),
        (b"class,index,split\ncube,1,train\ncube,01,val\n", "1 pairs twice"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"class,index,split\ncube,1," + b"x" * 200_000 + b"\n", "cannot be read"),
        (b'class,index,split\ncube,1,"train\n', "cannot be read"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(tmp_path, text, message):
    (tmp_path / "manifest.csv").write_bytes(text)
    with pytest.raises(UserError, match=message) as caught:
        read_manifest(tmp_path / "manifest.csv")
    assert len(str(caught.value)) < 600


def test_a_manifest_without_end_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "MAX_MANIFEST_BYTES", 10)
    write_manifest(tmp_path, PAIRS)
    with pytest.raises(UserError, match="it is longer than"):
        read_manifest(tmp_path / "manifest.csv")


# --- export


def edited(export, tmp_path, name, change):
    """A copy of the export with one of its documents changed."""
    root = tmp_path / "export"
    samples, metadata, media = export_documents()
    for file, data in media.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(data)
    documents = {"samples.json": samples, "metadata.json": metadata}
    change(documents[name])
    for file, document in documents.items():
        (root / file).write_text(json.dumps(document))
    return root


def info(key, value):
    return lambda document: document["info"].update({key: value})


def sample(key, value):
    return lambda document: document["samples"][0].update({key: value})


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
def test_a_value_that_no_export_has_is_refused(export, tmp_path, name, change, message):
    with pytest.raises(UserError, match=message) as caught:
        read_export(edited(export, tmp_path, name, change))
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("text", ["[" * 100_000, '{"samples":' * 100_000, "[1]", "", "\0"])
def test_json_that_is_no_document_is_refused(export, tmp_path, text):
    root = edited(export, tmp_path, "samples.json", lambda _: None)
    (root / "samples.json").write_text(text)
    with pytest.raises(UserError, match=re.escape(str(root / "samples.json"))):
        read_export(root)


def test_json_without_end_is_not_read(export, monkeypatch):
    monkeypatch.setattr(exported, "MAX_JSON_BYTES", 10)
    with pytest.raises(UserError, match="it is longer than"):
        read_export(export)


def test_an_image_whose_name_is_a_number_beyond_all_scenes_is_numbered_by_position(export, tmp_path):
    root = edited(export, tmp_path, "samples.json", lambda document: [s.pop("scene") for s in document["samples"]])
    document = json.loads((root / "samples.json").read_text())
    for number, entry in enumerate(document["samples"]):
        path = root / entry["filepath"]
        entry["filepath"] = f"data/{10**12 + number}{path.suffix}"
        path.rename(root / entry["filepath"])
    (root / "samples.json").write_text(json.dumps(document))
    assert {record.scene for record in read_export(root).records} == {0, 1}


def test_a_link_to_what_is_no_image_is_not_packed(export, tmp_path):
    root = edited(export, tmp_path, "samples.json", lambda _: None)
    (tmp_path / "secret").write_text("secret")
    (root / "data/rgb/cube-0000.png").unlink()
    (root / "data/rgb/cube-0000.png").symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="not a PNG file"):
        pack(read_export(root))


def test_media_of_the_hub_that_cannot_be_used_are_listed(export, tmp_path):
    root = edited(export, tmp_path, "samples.json", lambda _: None)
    bad = {"data/rgb/cube-0000.png": png() + bytes(2**20), "data/lidar/sphere-0001.npy": b""}
    for name, data in bad.items():
        (root / name).write_bytes(data)
    (tmp_path / "target").mkdir()
    pairs, report = hub.import_export(root, tmp_path / "target", hub.HubParams("owner/name", "main"), "0" * 40)
    assert pairs == [Pair(0, "sphere", "train"), Pair(1, "cube", "val")]
    assert sorted(report.rows) == [
        ("data/lidar/cube-0000.npy", "its partner is unusable"),
        ("data/lidar/sphere-0001.npy", "empty file"),
        ("data/rgb/cube-0000.png", "file of more than 1 MiB"),
        ("data/rgb/sphere-0001.png", "its partner is unusable"),
    ]


# --- packed data, checkpoints


def test_any_damaged_byte_of_packed_data_is_found(tmp_path):
    data = make_packed(train=3, val=2, test=1)
    path = tmp_path / "data.pt"
    packed.save(data, path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as members:
        stored = [info for info in members.infolist() if "/data/" in info.filename]
    for member in stored:
        length = struct.unpack_from("<HH", whole, member.header_offset + 26)
        start = member.header_offset + 30 + sum(length)
        damaged = bytearray(whole)
        damaged[start + member.file_size // 2] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=f"{member.filename} in it is damaged.*dvc repro pack"):
            packed.load(path)
    assert len(stored) == len(packed.SHAPES)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("range", math.nan, "ranges that are not between"),
        ("range", math.inf, "ranges that are not between"),
        ("range", -1.0, "ranges that are not between"),
        ("range", 0.0, "ranges that are not between"),
        ("range", 51.0, "ranges that are not between"),
        ("azimuth", math.nan, "angles"),
        ("zenith", 180.0, "angles"),
        ("label", 2, "label"),
        ("split", 3, "split"),
        ("sensor", 1, "sensor"),
        ("scene", -1, "scenes"),
        ("split", 0, "ordered by split"),
    ],
)
def test_packed_data_that_cannot_be_are_refused(tmp_path, name, value, message):
    data = make_packed(train=3, val=2, test=1)
    getattr(data, name).view(-1)[-1] = value
    torch.save({"format": packed.FORMAT, **{name: getattr(data, name) for name in packed.SHAPES}}, tmp_path / "data.pt")
    with pytest.raises(UserError, match=message):
        packed.load(tmp_path / "data.pt")


def test_a_tensor_shorter_than_it_claims_does_not_read_on_into_the_next(tmp_path):
    packed.save(make_packed(train=3, val=2, test=1), tmp_path / "data.pt")
    with zipfile.ZipFile(tmp_path / "data.pt") as old, zipfile.ZipFile(tmp_path / "short.pt", "w") as new:
        for member in old.infolist():
            content = old.read(member)
            new.writestr(member.filename, content[:100] if member.filename.endswith("data/0") else content)
    with pytest.raises(UserError, match="not of the sizes stored"):
        packed.load(tmp_path / "short.pt")


def test_packed_data_are_checked_anew_when_the_file_changes(tmp_path):
    path = tmp_path / "data.pt"
    packed.save(make_packed(train=3, val=2, test=1), path)
    packed.load(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(0, 0))
    with pytest.raises(UserError, match="is damaged"):
        packed.load(path)


def test_no_pairs_are_packed_data_too(tmp_path):
    """What ``pack_unlabelled`` writes where every scene is in a split."""
    data = make_packed(train=1, val=1, test=1)
    none = packed.Packed(**{n: getattr(data, n)[: None if n in ("azimuth", "zenith") else 0] for n in packed.SHAPES})
    packed.save(packed.Packed(**{n: getattr(none, n).clone() for n in packed.SHAPES}), tmp_path / "data.pt")
    assert len(packed.load(tmp_path / "data.pt").label) == 0


def test_any_damaged_byte_of_a_checkpoint_is_found(tmp_path):
    path = tmp_path / "model.pt"
    save_checkpoint(path, projector.build(), "projector", {}, {}, 1)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1  # in a weight
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"is damaged.*train it anew"):
        load_checkpoint(path)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_checkpoint_with_weights_that_are_no_numbers_is_refused(tmp_path, value):
    model = projector.build()
    with torch.no_grad():
        next(model.parameters()).view(-1)[3] = value
    save_checkpoint(tmp_path / "model.pt", model, "projector", {}, {}, 1)
    with pytest.raises(UserError, match="not finite"):
        load_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["params", "seed"])
def test_a_checkpoint_that_does_not_say_where_it_is_from_is_refused(tmp_path, name):
    save_checkpoint(tmp_path / "model.pt", projector.build(), "projector", {}, {}, 1)
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    del content[name]
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(UserError, match="which params and seed"):
        load_checkpoint(tmp_path / "model.pt")


def test_an_archive_that_torch_did_not_write_is_refused(tmp_path):
    for method, name in ((zipfile.ZIP_DEFLATED, "b"), (zipfile.ZIP_STORED, "a")):
        with zipfile.ZipFile(tmp_path / "some.pt", "w", method) as file:
            file.writestr("a", bytes(100))
            with contextlib.nullcontext() if name == "b" else pytest.warns(UserWarning, match="Duplicate name"):
                file.writestr(name, bytes(100))
        with pytest.raises(ValueError, match="no archive that torch wrote"):
            check_archive(tmp_path / "some.pt")
