"""What a source of data must not hold, case by case: PNG and npy, zip and folder, manifest."""

import struct
import zipfile

import numpy as np
import pytest
from fuzz.mutations import bomb, chunk, chunks, npy, png, zeros
from fuzz.trees import PAIRS
from fuzz.trees import tree as raw_tree

from cilp.errors import UserError
from cilp.packing import pack_unlabelled
from cilp.raw import archive, layout
from cilp.raw.decode import Unusable, decode_angles, decode_range, decode_rgb, read_calibration
from cilp.raw.folder import import_tree
from cilp.raw.layout import Pair, lidar_path, read_manifest, rgb_path, write_manifest
from cilp.sensors import MAX_RANGE, lidar_angles, point_cloud, ray_directions
from cilp.subset import grouped

# --- PNG, npy


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    return png()[:8] + b"".join(chunk(*part) for part in chunks)


HEADER, PIXELS, END = chunks(png())


@pytest.mark.parametrize("make", [bomb, lambda: png_with(HEADER, (b"IDAT", zeros()), END)], ids=["text", "pixels"])
def test_a_png_that_inflates_beyond_measure_takes_no_more_than_one_image(make):
    try:
        assert decode_rgb(make()).nbytes == 16_384
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
        (rgb_path, png()[:-20] + b"x" + png()[-19:], "damaged PNG"),
    ],
    ids=["nan", "wrong checksum"],
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


def test_a_list_of_members_that_would_fill_the_memory_is_not_read(zipped, tmp_path, monkeypatch):
    """Every member costs memory, a file of its own or not: 50 bytes in the archive, 1,000 once they are read."""
    with zipfile.ZipFile(zipped, "a") as file:
        for number in range(2000):
            file.writestr(f"notes/{number}.txt", b"")
    with zipfile.ZipFile(zipped) as file:
        length = zipped.stat().st_size - file.start_dir
    monkeypatch.setattr(archive, "MAX_LIST_BYTES", length)
    assert len(import_tree(zipped, tmp_path / "root", 2)[0]) == len(PAIRS)
    monkeypatch.setattr(archive, "MAX_LIST_BYTES", length - 30)
    with pytest.raises(UserError, match=r"the list of its members takes more than .* give a folder"):
        import_tree(zipped, tmp_path / "other", 2)


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
