"""The folder source from a .zip: good pairs arrive unchanged, all else is left out with a reason, or refused."""

import stat
import zipfile
from pathlib import Path

import pytest
from fuzz.mutations import npy, png, ranges
from raw_tree import PAIRS, SCENES, contents, write_tree, zipped

from cilp.errors import UserError
from cilp.raw import archive
from cilp.raw.folder import import_tree
from cilp.raw.layout import Pair


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def test_file_that_is_no_zip_is_refused(tmp_path, root, tree):
    whole = zipped(tree).read_bytes()
    for data in (b"", b"PK\x03\x04 nothing", png(), whole[: len(whole) // 2]):
        (tmp_path / "some.zip").write_bytes(data)
        with pytest.raises(UserError, match=r"data\.folder\.path: .* is no zip archive, or a damaged one"):
            import_tree(tmp_path / "some.zip", root, SCENES)


def test_hostile_members_are_left_out_and_write_nothing_anywhere(tree, root, tmp_path):
    path = zipped(tree)
    unsafe = [
        "../../evil.png",
        "/tmp/evil.png",
        "C:/evil.png",
        "c:\\evil.png",
        "cubes\\..\\..\\evil.png",
        "//h/evil.png",
    ]
    with zipfile.ZipFile(path, "a") as file:
        for name in unsafe:
            file.writestr(name, png())
        link = zipfile.ZipInfo("cubes/rgb/0099.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
        file.writestr("cubes/lidar/0099.npy", npy(ranges()))
        file.writestr("spheres/rgb/0099.png", bytes(50 * 2**20), zipfile.ZIP_DEFLATED)
        file.writestr("spheres/lidar/0099.npy", npy(ranges()))
        file.writestr("cubes/rgb/0098.png", png(), zipfile.ZIP_BZIP2)
        file.writestr("cubes\\lidar\\0098.npy", npy(ranges()))  # a Windows separator alone is harmless
    before = set(tmp_path.rglob("*"))
    pairs, report = import_tree(path, root, SCENES)
    assert pairs == PAIRS
    assert {new for new in set(tmp_path.rglob("*")) - before if not new.is_relative_to(root)} == set()
    assert contents(root) == contents(tree)
    assert sorted(report.rows) == sorted(
        [(name, "unsafe path in the archive") for name in unsafe]
        + [
            ("cubes/rgb/0099.png", "symbolic link"),
            ("cubes/lidar/0099.npy", "range image without an image"),
            ("spheres/rgb/0099.png", "file of more than 1 MiB"),
            ("spheres/lidar/0099.npy", "range image whose image is unusable"),
            ("cubes/rgb/0098.png", "compressed by another method than deflate"),
            ("cubes/lidar/0098.npy", "range image whose image is unusable"),
        ]
    )


def test_archive_that_inflates_beyond_the_bound_is_refused(tree, root, monkeypatch):
    monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", 100_000)
    with pytest.raises(UserError, match="more than the"):
        import_tree(zipped(tree), root, SCENES)


def test_encrypted_archive_is_refused(tree, root):
    path = zipped(tree)
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    while entry >= 0:  # the "encrypted" flag of every member in the central directory
        data[entry + 8] |= 1
        entry = data.find(b"PK\x01\x02", entry + 1)
    path.write_bytes(data)
    with pytest.raises(UserError, match="is encrypted"):
        import_tree(path, root, SCENES)


def test_member_with_a_wrong_checksum_costs_its_own_pair_alone(tree, root):
    path = tree.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as file:
        for name, data in contents(tree).items():
            file.writestr(name, data)
    data = bytearray(path.read_bytes())
    data[data.index((tree / "cubes/lidar/0001.npy").read_bytes()) + 300] ^= 1
    path.write_bytes(data)
    pairs, report = import_tree(path, root, SCENES - 1)
    assert set(PAIRS) - set(pairs) == {Pair(1, "cube")}
    assert ("cubes/lidar/0001.npy", "damaged in the archive") in report.rows
