"""The folder source: whatever lies in the tree, good pairs arrive unchanged and all else is skipped with a reason."""

import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from clone import ROOT
from fuzz.mutations import chunk, npy, png, ranges
from raw_tree import PAIRS, SCENES, contents, write, write_tree, zipped

from cilp.errors import UserError
from cilp.raw import archive
from cilp.raw.decode import Unusable, decode_range, decode_rgb
from cilp.raw.folder import FolderParams, import_tree
from cilp.raw.layout import CLASSES, Pair, class_folder, write_manifest
from cilp.sensors import MAX_RANGE, lidar_angles


def with_value(value: float) -> bytes:
    image = ranges()
    image[3, 5] = value
    return npy(image)


def handmade_png(width: int = 64, height: int = 64, depth: int = 8, pixels: bytes = b"", interlace: int = 0) -> bytes:
    """A PNG in RGBA whose checksums are right whatever its header and pixel data say."""
    header = struct.pack(">IIBBBBB", width, height, depth, 6, 0, 0, interlace)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in chunks)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def test_clean_tree_arrives_byte_for_byte_with_nothing_skipped(tree, root):
    pairs, report = import_tree(tree, root, SCENES)
    assert pairs == PAIRS
    assert report.rows == []
    assert contents(root) == contents(tree)
    assert (root / "skipped.csv").read_text() == "file,reason\n"


BAD_PNG = {
    "empty": (b"", "empty file"),
    "signature only": (png()[:8], "truncated PNG"),
    "cut in the header": (png()[:30], "truncated PNG"),
    "cut in the pixels": (png()[:-1000], "truncated PNG"),
    "without its last chunk": (png()[:-12], "truncated PNG"),
    "flipped bit": (png()[:500] + bytes([png()[500] ^ 1]) + png()[501:], "damaged PNG"),
    "too few rows": (handmade_png(pixels=bytes(257 * 63)), "damaged PNG"),
    "text": (b"version https://git-lfs.github.com/spec/v1\n", "not a PNG file"),
    "wrong size": (png(size=(32, 64)), "PNG of 32x64 pixels, not 64x64"),
    "bomb": (handmade_png(50_000, 50_000), "PNG of 50000x50000 pixels, not 64x64"),
    "RGB": (png(mode="RGB"), "PNG is 8-bit RGB without alpha, not 8-bit RGBA"),
    "palette": (png(mode="P"), "PNG is 8-bit palette, not 8-bit RGBA"),
    "grey": (png(mode="L"), "PNG is 8-bit greyscale, not 8-bit RGBA"),
    "16 bits": (handmade_png(depth=16, pixels=bytes(513 * 64)), "PNG is 16-bit RGBA, not 8-bit RGBA"),
    "huge": (png() + bytes(archive.MAX_FILE_BYTES), "file of more than 1 MiB"),
}
BAD_NPY = {
    "empty": (b"", "empty file"),
    "text": (b"not found", "not an npy file, or one with a damaged header"),
    "truncated": (npy(ranges())[:-100], "truncated npy"),
    "surplus": (npy(ranges()) + b"0", "npy with bytes after its end"),
    "shape": (npy(ranges()[:32]), "npy of float32 (32, 64), not float32 (64, 64)"),
    "enormous shape": (
        npy(ranges()).replace(b"(64, 64), }    ", b"(64, 640000), }"),
        "npy of float32 (64, 640000), not float32 (64, 64)",
    ),
    "dtype": (npy(ranges().astype(np.float64)), "npy of float64 (64, 64), not float32 (64, 64)"),
    "byte order": (npy(ranges().astype(">f4")), "npy of byte-swapped float32 (64, 64), not float32 (64, 64)"),
    "objects": (npy(np.full((64, 64), None)), "npy holds Python objects"),
    "nan": (with_value(np.nan), "range image with NaN or infinite values"),
    "infinity": (with_value(np.inf), "range image with NaN or infinite values"),
    "negative": (with_value(-1.0), "range image with ranges of 0 m or less"),
    "zero": (with_value(0.0), "range image with ranges of 0 m or less"),
    "far": (with_value(50.1), "range image with ranges over 50 m"),
}


@pytest.mark.parametrize(
    ("file", "data", "reason", "partner", "partner_reason"),
    [
        pytest.param(
            "spheres/rgb/0002.png", *case, "spheres/lidar/0002.npy", "range image whose image is unusable", id=name
        )
        for name, case in BAD_PNG.items()
    ]
    + [
        pytest.param(
            "spheres/lidar/0002.npy", *case, "spheres/rgb/0002.png", "image whose range image is unusable", id=name
        )
        for name, case in BAD_NPY.items()
    ],
)
def test_unusable_file_costs_its_own_pair_alone(tree, root, file, data, reason, partner, partner_reason):
    (tree / file).write_bytes(data)
    pairs, report = import_tree(tree, root, SCENES - 1)
    assert set(PAIRS) - set(pairs) == {Pair(2, "sphere")}
    assert sorted(report.rows) == sorted([(file, reason), (partner, partner_reason)])
    assert contents(root) == {name: data for name, data in contents(tree).items() if name not in (file, partner)}


def test_interlaced_png_keeps_its_pixels():
    """Written by hand, as Pillow writes none: every pass holds its share of the pixels, unfiltered."""
    pixels = decode_rgb(png(3))
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = [row for y, x, dy, dx in passes for row in pixels[y::dy, x::dx]]
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    np.testing.assert_array_equal(decode_rgb(handmade_png(pixels=data, interlace=1)), pixels)
    with pytest.raises(Unusable, match="damaged PNG"):
        decode_rgb(handmade_png(pixels=data[:-1], interlace=1))


def test_range_a_rounding_error_over_the_maximum_passes_unchanged():
    data = with_value(np.nextafter(np.float32(MAX_RANGE), np.float32(np.inf)))
    assert decode_range(data)[3, 5] > MAX_RANGE


def test_column_major_npy_keeps_its_rows_and_columns():
    np.testing.assert_array_equal(decode_range(npy(np.asfortranarray(ranges()))), ranges())


def make_messy(tree: Path) -> list[tuple[str, str]]:
    """Add to a clean tree what real ones carry, none of which costs a pair; returns the expected report."""
    base = tree / "data" / "assessment"
    base.parent.mkdir()
    clean = [tree / class_folder(Path(), label) for label in CLASSES]
    base.mkdir()
    for folder in clean:
        folder.rename(base / folder.name)
    # nested lidar folder, calibration one level deeper, other spellings of names: used like any other
    nested = base / "spheres" / "lidar" / "lidar"
    nested.mkdir()
    (base / "spheres" / "lidar" / "0000.npy").rename(nested / "0000.npy")
    (base / "spheres" / "lidar" / "0001.npy").rename(nested / "1.npy")
    (base / "cubes" / "rgb" / "0002.png").rename(base / "cubes" / "rgb" / "2.PNG")
    (base / "spheres" / "meta").mkdir()
    (base / "spheres" / "azimuth.npy").rename(base / "spheres" / "meta" / "azimuth.npy")
    extra = {
        "README.md": (b"hello", "not part of the raw layout"),
        ".DS_Store": (b"\0", "hidden file"),
        "data/assessment/cubes/rgb/._0001.png": (png(), "hidden file"),
        "data/assessment/cubes/rgb/Thumbs.db": (b"\0", "not part of the raw layout"),
        "data/assessment/cubes/rgb/0001.npy": (npy(ranges()), "not part of the raw layout"),
        "data/assessment/cubes/rgb/0001 (1).png": (png(), "name is not a number"),
        "data/assessment/cubes/lidar/\N{ARABIC-INDIC DIGIT ONE}.npy": (npy(ranges()), "name is not a number"),
        "data/assessment/cubes/rgb/0077.png": (png(), "image without a range image"),
        "data/assessment/spheres/lidar/0078.npy": (npy(ranges()), "range image without an image"),
        "data/assessment/spheres/lidar/lidar/0078.npy": (b"", "range image without an image"),
        "data/assessment/spheres/lidar/lidar/0003.npy": (
            (base / "spheres" / "lidar" / "0003.npy").read_bytes(),
            "copy of a file that is used",
        ),
        "data/assessment/spheres/rgb/backup/rgb/0003.png": (b"", "empty file"),
    }
    for name, (data, _) in extra.items():
        write(tree / name, data)
    for hidden in ("__MACOSX", ".ipynb_checkpoints"):
        write(tree / hidden / "data/assessment/cubes/rgb/0001.png", png())
    expected = [(name, reason) for name, (_, reason) in extra.items()]
    return [*expected, ("__MACOSX", "hidden folder"), (".ipynb_checkpoints", "hidden folder")]


@pytest.mark.parametrize("pack", [lambda tree: tree, zipped], ids=["folder", "zip"])
def test_messy_tree_gives_what_the_clean_one_gives(tree, root, pack, capsys):
    clean = contents(tree)
    expected = make_messy(tree)
    pairs, report = import_tree(pack(tree), root, SCENES)
    assert pairs == PAIRS
    assert contents(root) == clean
    assert sorted(report.rows) == sorted(expected)
    assert sum(report.counts.values()) == len(expected)
    lines = (root / "skipped.csv").read_text(encoding="utf-8").splitlines()
    assert lines == ["file,reason", *(f"{file},{reason}" for file, reason in sorted(expected))]
    assert f"skipped {len(expected)} files: " in capsys.readouterr().out


def test_every_file_is_used_or_reported(tree, root):
    make_messy(tree)
    _, report = import_tree(tree, root, SCENES)
    reported = {file for file, _ in report.rows}
    hidden = {file for file, reason in report.rows if reason == "hidden folder"}
    left = [name for name in contents(tree) if name not in reported and name.split("/")[0] not in hidden]
    assert len(left) == len(contents(root))


def test_two_different_files_for_one_index_cost_the_pair(tree, root):
    write(tree / "spheres/lidar/lidar/1.npy", npy(ranges(99)))
    pairs, report = import_tree(tree, root, SCENES - 1)
    assert Pair(1, "sphere") not in pairs
    assert report.counts == {"two different files for one index": 2, "image whose range image is unusable": 1}


def test_links_and_pipes_are_neither_followed_nor_opened(tree, root, tmp_path):
    outside = tmp_path / "outside"
    write(outside / "0099.png", png())
    (tree / "cubes/rgb/0099.png").symlink_to(outside / "0099.png")
    (tree / "cubes/rgb/more").symlink_to(outside)
    (tree / "cubes/rgb/loop").symlink_to(tree / "cubes")
    (tree / "cubes/rgb/gone.png").symlink_to(outside / "gone.png")
    os.mkfifo(tree / "cubes/lidar/0099.npy")
    pairs, report = import_tree(tree, root, SCENES)
    assert pairs == PAIRS
    assert report.counts == {"symbolic link": 4, "not a regular file": 1}


def test_name_that_is_no_utf8_is_escaped_in_the_report(tree, root):
    (tree / "cubes" / "rgb" / os.fsdecode(b"\xff.png")).write_bytes(png())
    import_tree(tree, root, SCENES)
    assert "\\udcff.png,name is not a number" in (root / "skipped.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("pack", [lambda tree: tree, zipped], ids=["folder", "zip"])
def test_manifest_decides_pairs_and_splits(tree, root, pack):
    listed = [Pair(0, "cube", "train"), Pair(0, "sphere", "train"), Pair(1, "cube", "val"), Pair(3, "sphere")]
    write_manifest(tree, [*listed, Pair(9, "cube", "test")])
    pairs, report = import_tree(pack(tree), root, 1)
    assert pairs == listed
    assert report.counts == {
        "not listed in manifest.csv": 2 * (len(PAIRS) - len(listed)),
        "listed in manifest.csv but missing": 2,
    }


def test_given_splits_decide_however_few_scenes_they_hold(tree, root):
    write_manifest(tree, [Pair(0, "cube", "train"), Pair(0, "sphere", "train")])
    pairs, _ = import_tree(tree, root, 1000)
    assert [pair.split for pair in pairs] == ["train", "train"]
    write_manifest(tree, [Pair(0, "cube"), Pair(0, "sphere")])
    with pytest.raises(UserError, match="1,000 scenes"):
        import_tree(tree, root.with_name("again"), 1000)


@pytest.mark.parametrize("data", [b"class,index\ncube,1\n", b"class,index,split\ncone,1,\n", b"\xff\xfe\x00", b""])
def test_manifest_that_cannot_be_read_is_named(tree, root, data):
    (tree / "manifest.csv").write_bytes(data)
    with pytest.raises(UserError, match=str(tree / "manifest.csv")):
        import_tree(tree, root, SCENES)


def test_too_few_scenes_says_what_was_found_after_writing_the_report(tree, root):
    (tree / "cubes/rgb/0000.png").unlink()
    (tree / "spheres/lidar/0001.npy").write_bytes(b"")
    (tree / "spheres/lidar/0002.npy").write_bytes(b"")
    with pytest.raises(UserError) as error:
        import_tree(tree, root, 2)
    for part in ("3 usable cube pairs", "2 usable sphere pairs", "1 scenes", "ask for 2 scenes", "data.subset"):
        assert part in str(error.value)
    assert str(root / "skipped.csv") in str(error.value)
    assert len((root / "skipped.csv").read_text().splitlines()) == 1 + 5


def test_the_stage_keeps_the_report_that_it_names(tree, tmp_path):
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    settings["data"] |= {"source": "folder", "subset": 3, "test": 2, "folder": {"path": str(tree)}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
    (tree / "cubes/rgb/0000.png").write_bytes(b"")
    done = subprocess.run(
        [sys.executable, str(ROOT / "stages/acquire.py")], cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    named = re.search(r"\((\S+skipped\.csv) lists", done.stderr)
    assert "cubes/rgb/0000.png,empty file" in (tmp_path / named[1]).read_text()

    settings["data"] |= {"subset": 1, "test": 1}  # once it succeeds, the list of what failed is gone
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
    subprocess.run(
        [sys.executable, str(ROOT / "stages/acquire.py")], cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True, check=True,
    )  # fmt: skip
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("data/**/skipped.csv")] == [
        "data/raw/skipped.csv"
    ]


@pytest.mark.parametrize("pack", [lambda tree: tree, zipped], ids=["folder", "zip"])
def test_a_manifest_may_be_longer_than_an_image(tree, root, pack):
    listed = [Pair(10**8 + index, "cube") for index in range(70_000)]
    write_manifest(tree, [*listed, *PAIRS])
    assert (tree / "manifest.csv").stat().st_size > 2**20
    pairs, _ = import_tree(pack(tree), root, SCENES)
    assert pairs == PAIRS


def test_missing_calibration_of_one_class_tells_what_to_copy(tree, root):
    make_messy(tree)
    base = tree / "data/assessment"
    (base / "spheres/zenith.npy").unlink()
    with pytest.raises(UserError, match=r"zenith\.npy of the spheres is missing") as error:
        import_tree(tree, root, SCENES)
    assert str(base / "spheres") in str(error.value)
    assert "copy data/assessment/cubes/zenith.npy to data/assessment/spheres/zenith.npy" in str(error.value)


def test_missing_calibration_of_both_classes_gives_no_such_advice(tree, root):
    for label in CLASSES:
        (class_folder(tree, label) / "azimuth.npy").unlink()
    with pytest.raises(UserError, match="the other class has none either"):
        import_tree(tree, root, SCENES)


@pytest.mark.parametrize(
    "angles",
    [
        lidar_angles()[:32],
        lidar_angles()[:, None],
        lidar_angles().astype(np.float64),
        np.full(64, np.nan, dtype=np.float32),
        np.rad2deg(lidar_angles()),
    ],
    ids=["short", "two axes", "float64", "nan", "degrees"],
)
def test_unusable_calibration_is_named(tree, root, angles):
    np.save(tree / "cubes/zenith.npy", angles)
    with pytest.raises(UserError, match=str(tree / "cubes/zenith.npy")):
        import_tree(tree, root, SCENES)


def test_calibration_files_that_differ_are_named(tree, root):
    write(tree / "cubes/lidar/azimuth.npy", npy(-lidar_angles()))
    with pytest.raises(UserError, match=r"several azimuth\.npy that differ"):
        import_tree(tree, root, SCENES)


def test_source_must_hold_exactly_one_tree(tree, root):
    with pytest.raises(UserError, match=r"no folder .* contains both cubes/ and spheres/ .*found: .*lidar, rgb"):
        import_tree(tree / "cubes", root, SCENES)
    shutil.copytree(tree, tree / "copy")
    with pytest.raises(UserError, match=r"holds 2 trees .*in \., copy"):
        import_tree(tree, root, SCENES)


def test_links_in_place_of_a_tree_are_named_with_the_list_of_them(tree, root):
    linked = tree.with_name("linked")
    linked.mkdir()
    for name in ("cubes", "spheres"):
        (linked / name).symlink_to(tree / name)
    with pytest.raises(UserError) as refused:
        import_tree(linked, root, SCENES)
    listed = root / "skipped.csv"
    assert f"(found: no files; skipped 2 files: symbolic link (2), listed in {listed})" in str(refused.value)
    assert listed.read_text() == "file,reason\ncubes,symbolic link\nspheres,symbolic link\n"


def test_half_a_tree_is_named(tree, root):
    shutil.rmtree(tree / "spheres")
    with pytest.raises(UserError, match=r"found: cubes\)"):
        import_tree(tree, root, SCENES)


@pytest.mark.parametrize("path", [None, ""])
def test_path_that_is_not_set_is_asked_for(path):
    with pytest.raises(UserError, match=r"data\.folder\.path is not set"):
        FolderParams(path).source()


def test_a_relative_path_is_shown_with_where_it_leads(tree, monkeypatch, tmp_path):
    """From DVC's copy of the project, for an experiment, not to what lies in the project."""
    copy = tmp_path / ".dvc/tmp/exps/tmp1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    with pytest.raises(UserError) as refused:
        import_tree(Path("tree"), Path("data/raw"), SCENES)
    assert str(refused.value).startswith(
        f"data.folder.path: tree (here {copy / 'tree'}) does not exist; give the absolute path of a folder"
    )
    assert import_tree(Path("../../../../tree"), Path("data/raw"), SCENES)[0] == PAIRS


def test_errors_name_the_param_that_says_where_the_source_is(tree, root):
    (tree.parent / "no.zip").write_text("no archive")
    shutil.copytree(tree, tree / "copy")
    for source in (tree.parent / "nowhere", tree.parent / "no.zip", tree, tree / "cubes", root.parent):
        with pytest.raises(UserError, match=r"^data\.kaggle: "):
            import_tree(source, root, SCENES, "data.kaggle")


def test_path_may_start_at_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FolderParams("~/tree.zip").source() == tmp_path / "tree.zip"


def test_source_that_is_missing_or_overlaps_its_copy_is_refused(tree, root):
    with pytest.raises(UserError, match=r"data\.folder\.path: .* does not exist"):
        import_tree(root / "nowhere", root, SCENES)
    with pytest.raises(UserError, match=r"data\.folder\.path: .* cannot be read \(File name too long\); give"):
        import_tree(tree.parent / ("a" * 300), root, SCENES)
    for target in (tree, tree / "raw", tree.parent):
        with pytest.raises(UserError, match="overlap"):
            import_tree(tree, target, SCENES)
