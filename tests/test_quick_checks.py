"""Hashes that the quick DVC computes once, and locks that it takes once, are what DVC would find and take."""

import json
import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from cilp.pipeline import quick_checks
from cilp.pipeline.quick_checks import KNOWN, Hashes, nesting, signature


@pytest.fixture
def folder(tmp_path):
    """A folder of a project, with three files."""
    for name in ("a", "b", "deep/c"):
        path = tmp_path / "project/data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "project/.dvc/tmp").mkdir(parents=True)
    return tmp_path / "project/data"


def output(path, **changes):
    """What DVC asks about."""
    from dvc.fs import LocalFileSystem

    root = path.parent
    repo = SimpleNamespace(root_dir=str(root), tmp_dir=str(root / ".dvc/tmp"))
    return SimpleNamespace(
        **{"fs": LocalFileSystem(), "repo": repo, "fs_path": str(path), "hash_name": "md5"} | changes
    )


class Counting:
    """Computes hashes of text that lies in a file or folder, and counts how often."""

    def __init__(self):
        self.calls = 0

    def __call__(self, output):
        from dvc_data.hashfile.hash_info import HashInfo
        from dvc_data.hashfile.meta import Meta

        self.calls += 1
        isdir = Path(output.fs_path).is_dir()
        return Meta(size=self.calls, isdir=isdir), HashInfo("md5", f"{self.calls}{'.dir' * isdir}")


def rewritten(folder):
    """Other text of the same length, at another time: the clock of a file system may not have gone on."""
    before = (folder / "deep/c").stat()
    (folder / "deep/c").write_text("deep/d")
    os.utime(folder / "deep/c", ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def replaced_at_the_same_time(folder):
    before = (folder / "a").stat()
    (folder / "new").write_text("z")
    os.utime(folder / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (folder / "new").replace(folder / "a")


CHANGES = {
    "rewritten": rewritten,
    "replaced at the same time": replaced_at_the_same_time,
    "longer": lambda folder: (folder / "a").write_text("longer"),
    "one more": lambda folder: (folder / "deep/e").touch(),
    "one less": lambda folder: (folder / "b").unlink(),
    "renamed": lambda folder: (folder / "b").rename(folder / "bb"),
    "moved": lambda folder: (folder / "b").rename(folder / "deep/b"),
    "ignored": lambda folder: (folder.parent / ".dvcignore").write_text("a"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_hash_is_computed_anew_when_anything_has_changed(folder, change):
    compute = Counting()
    hashes = Hashes(compute)
    meta, hash_info = hashes(output(folder))
    assert hashes(output(folder)) == (meta, hash_info) and compute.calls == 1
    CHANGES[change](folder)
    assert hashes(output(folder))[1].value == "2.dir" and compute.calls == 2


def test_each_path_and_kind_of_hash_has_its_own(folder):
    compute = Counting()
    hashes = Hashes(compute)
    asked = [output(folder), output(folder / "a"), output(folder / "b"), output(folder, hash_name="md5-dos2unix")]
    found = [hashes(each)[1].value for each in asked]
    assert found == ["1.dir", "2", "3", "4.dir"] == [hashes(each)[1].value for each in asked]


def test_what_a_caller_does_to_its_hash_stays_there(folder):
    hashes = Hashes(Counting())
    meta, hash_info = hashes(output(folder))
    meta.size, hash_info.value = 0, "changed"
    assert hashes(output(folder))[0].size == 1 and hashes(output(folder))[1].value == "1.dir"


def test_what_is_missing_or_elsewhere_is_left_to_dvc(folder):
    compute = Counting()
    hashes = Hashes(compute)
    nowhere = SimpleNamespace(root_dir=str(folder), tmp_dir=None)
    for asked in (
        output(folder / "missing"),
        output(folder, fs="another"),
        output(folder, repo=None),
        output(folder, repo=nowhere),
    ):
        for _ in range(2):
            hashes(asked)
    assert compute.calls == 8


def test_the_next_command_knows_the_folders(folder):
    first, second = Counting(), Counting()
    hashes = Hashes(first)
    found = [hashes(output(folder)), hashes(output(folder / "a"))]
    hashes.save()
    again = Hashes(second)
    assert again(output(folder)) == found[0] and second.calls == 0
    assert again(output(folder / "a")) and second.calls == 1
    again.save()
    (folder / "b").unlink()
    assert Hashes(second)(output(folder))[1] != found[0][1]


def test_a_folder_that_is_gone_is_forgotten(folder):
    hashes = Hashes(Counting())
    for each in (folder, folder / "deep"):
        hashes(output(each, repo=output(folder).repo))
    shutil.rmtree(folder / "deep")
    hashes.save()
    assert list(json.loads((folder.parent / ".dvc/tmp" / KNOWN).read_text())) == [f"md5:{folder}"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"md5:/data": 1}', '{"md5:/data": ["", {}, "md5"]}', "\udc80"])
def test_a_file_of_hashes_that_is_none_is_as_good_as_none(folder, text):
    file = folder.parent / ".dvc/tmp" / KNOWN
    file.write_bytes(text.encode(errors="surrogateescape"))
    hashes = Hashes(Counting())
    assert hashes(output(folder))[1].value == "1.dir"
    hashes.save()
    assert [key for key in json.loads(file.read_text())] == [f"md5:{folder}"]


def test_where_nothing_can_be_written_nothing_is_kept(folder):
    hashes = Hashes(Counting())
    hashes(output(folder))
    hashes.file = folder / "a" / KNOWN
    hashes.save()
    assert (folder / "a").read_text() == "a"


@pytest.fixture
def walks(monkeypatch):
    """Of which paths signatures are taken."""
    taken = []

    def counted(*paths):
        taken.append(paths[0])
        return signature(*paths)

    monkeypatch.setattr(quick_checks, "signature", counted)
    return taken


def test_checks_between_which_nothing_runs_walk_a_folder_once(folder, walks):
    hashes = Hashes(Counting())
    check = hashes.steady(lambda: hashes(output(folder))[1].value)
    assert [check() for _ in range(3)] == ["1.dir"] * 3 and len(walks) == 1
    rewritten(folder)
    assert hashes(output(folder))[1].value == "2.dir", "who asks otherwise is told what there is now"


def test_a_check_after_a_stage_looks_anew(folder, walks):
    hashes = Hashes(Counting())
    check = hashes.steady(lambda: hashes(output(folder))[1].value)
    run_stage = hashes.changing(lambda: rewritten(folder))
    fail = hashes.changing(lambda: rewritten(folder) or 1 / 0)
    assert [check(), run_stage(), check()] == ["1.dir", None, "2.dir"]
    with pytest.raises(ZeroDivisionError):
        fail()
    assert check() == "3.dir" and len(walks) == 3


def test_a_check_that_fails_is_over(folder, walks):
    hashes = Hashes(Counting())
    with pytest.raises(ZeroDivisionError):
        hashes.steady(lambda: 1 / 0)()
    for _ in range(2):
        hashes(output(folder))
    assert len(walks) == 2


def test_a_signature_needs_what_it_is_of(folder):
    with pytest.raises(FileNotFoundError):
        signature(str(folder / "missing"), str(folder))
    assert signature(str(folder), str(folder / "missing")) == signature(str(folder))


class Locks:
    """Stands for DVC's, and lists what is taken and given back."""

    def __init__(self):
        self.taken = []

    def __call__(self, tmp_dir, fs, cmd, read, write, hardlink):
        stack = ExitStack()
        self.taken.append((read, write))
        stack.callback(self.taken.append, "given back")
        return stack


def test_a_lock_inside_another_that_has_its_paths_writes_nothing():
    locks = Locks()
    lock = nesting(locks)
    with lock("", None, "", ["a", "b"], ["c"], False):
        for read, write in ((["a"], []), (["b", "c"], []), ([], ["c"]), ([], [])):
            with lock("", None, "", read, write, False):
                pass
        assert locks.taken == [(["a", "b"], ["c"])]
        with lock("", None, "", ["d"], [], False):
            assert locks.taken[-1] == (["d"], [])
        with lock("", None, "", [], ["a"], False):
            assert locks.taken[-1] == ([], ["a"])
    assert len(locks.taken) == 6 and locks.taken[-1] == "given back"


def test_a_lock_is_forgotten_with_its_block():
    locks = Locks()
    lock = nesting(locks)
    for _ in range(2):
        with pytest.raises(KeyError), lock("", None, "", ["a"], [], False):
            raise KeyError
    assert locks.taken == [(["a"], []), "given back"] * 2


def test_another_process_is_kept_out_as_ever(tmp_path):
    """DVC's own locks below, and a reader, this process's parent, that has a path of its own."""
    from dvc.fs import LocalFileSystem
    from dvc.lock import LockError
    from dvc.rwlock import rwlock

    lock = nesting(rwlock)
    other = {"pid": os.getppid(), "cmd": "another"}
    (tmp_path / "rwlock").write_text(json.dumps({"read": {"/b": [other]}}))
    with lock(tmp_path, LocalFileSystem(), "this", ["/a", "/b"], [], False):
        with lock(tmp_path, LocalFileSystem(), "this", ["/a"], [], False):
            assert set(json.loads((tmp_path / "rwlock").read_text())["read"]) == {"/a", "/b"}
        with pytest.raises(LockError, match="busy"), lock(tmp_path, LocalFileSystem(), "this", [], ["/b"], False):
            pass
    assert json.loads((tmp_path / "rwlock").read_text())["read"] == {"/b": [other]}
