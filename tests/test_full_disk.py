"""A full disk: one sentence that says so, the earlier results as they were, and nothing half written beside them."""

import errno
import os
import resource
import subprocess
import sys

import pytest
from clone import ENVIRONMENT

from cilp import atomic
from cilp.console import cli
from cilp.errors import UserError

CURE = "free some space on the disks of"
TRAIN = ("train_fusion", "--fusion", "hadamard", "--downsampling", "maxpool")


def tree(root):
    ignored = ("__pycache__", "wandb", "unfinished")  # the last is what a slow machine began to save before it failed
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
        if not set(ignored) & set(path.parts)
    }


def refusal(done):
    """The one line that a stage has said on its way out."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: Results cannot be written (")
    assert CURE in done.stderr
    return done.stderr


@pytest.mark.parametrize(("stage", "most"), [(("acquire",), 2**13), (TRAIN, 2**20)], ids=["acquire", "train"])
def test_a_stage_that_may_not_write_so_much_leaves_the_earlier_results(sandbox, stage, most):
    """By the limit on the size of a file, which fails like a disk that is full."""
    before = tree(sandbox)
    script, *options = stage
    done = subprocess.run(
        [sys.executable, f"stages/{script}.py", *options],
        cwd=sandbox, env={**ENVIRONMENT, "WANDB_MODE": "disabled"}, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
    )  # fmt: skip
    refusal(done)
    assert tree(sandbox) == before


NAMESPACE = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--mount", "sh", "-ec"]


@pytest.fixture(scope="session")
def small_disks():
    """For what mounts one, in a namespace of its own."""
    mount = [*NAMESPACE, "mount -t tmpfs -o size=4k none /tmp"]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")


@pytest.mark.parametrize("stage", ["acquire", "subset"])
def test_a_stage_on_a_small_disk_leaves_the_earlier_results(small_disks, sandbox, stage):
    """On a disk of its own that has room for a few more objects alone."""
    script = (
        "mkdir disk; mount -t tmpfs -o size=64m none disk; cp -r data/raw data/subset disk; mv data whole; "
        "mount -o remount,size=$(($(df -k --output=used disk | tail -1) + 200))k disk; ln -s disk data; code=0; "
        f"{sys.executable} stages/{stage}.py || code=$?; cp -r disk after; exit $code"
    )
    done = subprocess.run(
        [*NAMESPACE, script], cwd=sandbox, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert "No space left on device" in refusal(done)
    assert sorted(path.name for path in (sandbox / "after").iterdir()) == ["raw", "subset"]
    for name in ("raw", "subset"):
        assert tree(sandbox / "after" / name) == tree(sandbox / "whole" / name)


def say(capsys, main):
    with pytest.raises(SystemExit) as exit_:
        cli.run(main)
    assert exit_.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("number", cli.NO_SPACE)
def test_the_file_is_named_whatever_was_made_of_the_error(capsys, tmp_path, number):
    path = tmp_path / "figures.json"
    atomic.write_text(path, "earlier")

    def main():
        try:
            with atomic.replacing(path) as file:
                file.write("lat")
                raise OSError(number, os.strerror(number), str(path))
        except OSError:
            raise UserError("it cannot be read; acquire it again.") from None

    said = say(capsys, main)
    assert said.startswith(f"error: Results cannot be written ({os.strerror(number)}, at {path}); {CURE}")
    assert said.count("\n") == 1
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("figures.json", "earlier")]


@pytest.mark.parametrize(
    "error",
    [
        OSError("4096 requested and 100 written"),  # NumPy
        FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"),
        RuntimeError("28: No space left on device, full error: {'index': 0, 'code': 8}"),  # MongoDB
    ],
)
def test_others_say_it_in_their_own_words(capsys, error):
    def main():
        raise error

    assert "No space left on device" in say(capsys, main)


def test_a_disk_that_is_full_explains_what_nothing_else_does(capsys, monkeypatch):
    def main():
        raise ConnectionError("connection closed")

    monkeypatch.setattr(cli.shutil, "disk_usage", lambda place: os.terminal_size((0, 0)) and type("", (), {"free": 0}))
    assert CURE in say(capsys, main)
    monkeypatch.undo()
    with pytest.raises(ConnectionError):
        cli.run(main)
