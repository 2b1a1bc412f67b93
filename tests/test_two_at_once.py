"""What works on one clone at the same time, or was killed at work there: nothing is spoilt, and a sentence says so."""

import os
import re
import shutil
import signal
import subprocess
import sys

import psutil
import pytest
from bits import contents
from clone import ENVIRONMENT, ROOT, run

from cilp.errors import UserError
from cilp.pipeline.alone import alone

pytestmark = pytest.mark.timeout(420)
ALONE = ("--force", "--single-item")


def start(project, *command):
    return subprocess.Popen(
        command, cwd=project, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for(process, words):
    """Read what ``process`` prints until ``words`` come."""
    line = ""
    while words not in line:
        line = process.stdout.readline()
        assert line, process.stderr.read()


def test_two_repros_in_one_clone_leave_it_whole(project):
    before = contents(project / "data")
    repros = [start(project, "dvc", "repro", *ALONE, "pack") for _ in range(2)]
    said = ["".join(repro.communicate(timeout=200)) for repro in repros]
    codes = [repro.returncode for repro in repros]
    assert 0 in codes, said
    for code, words in zip(codes, said, strict=True):
        assert code == 0 or re.search(r"is busy, it is being blocked by:\n  \(PID \d+\)|Unable to acquire lock", words)
        assert "Traceback" not in words
    assert contents(project / "data") == before
    assert "up to date" in run(project, "dvc", "status")
    assert not run(project, "git", "status", "--porcelain")


def test_a_stage_runs_once_in_a_folder_and_beside_others_elsewhere(project, sandbox, tmp_path):
    """Each ``subset`` with a database server of its own."""
    elsewhere = shutil.copytree(sandbox, tmp_path / "elsewhere")
    running = [start(folder, sys.executable, "stages/subset.py") for folder in (sandbox, elsewhere)]
    try:
        wait_for(running[0], "starting FiftyOne")
        refusal = run(sandbox, sys.executable, "stages/subset.py", code=2)
    finally:
        errors = [process.communicate(timeout=200)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    assert refusal == (
        f"error: stages/subset.py is running in this folder already (process {running[0].pid}); "
        "wait for it to end, or end it.\n"
    )
    expected = contents(project / "data")
    assert contents(sandbox / "data") == contents(elsewhere / "data") == expected


def test_after_a_kill_dvc_goes_on_and_a_stage_that_lives_on_is_named(project, warm):
    """A killed DVC leaves its locks behind, and the stage that it has started."""
    repro = start(project, sys.executable, "-m", "dvc", "repro", *ALONE, "subset")
    wait_for(repro, "starting FiftyOne")
    (stage,) = (
        process
        for process in psutil.Process(repro.pid).children(recursive=True)
        if process.cmdline()[1:] == ["stages/subset.py"]
    )
    try:
        stage.suspend()
        repro.kill()
        repro.wait()
        assert (project / ".dvc/tmp/rwlock").stat().st_size > len("{}")
        refusal = run(project, "dvc", "repro", *ALONE, "subset", code=255)
        assert f"error: stages/subset.py is running in this folder already (process {stage.pid})" in refusal
    finally:
        for process in [*stage.children(recursive=True), stage]:
            process.kill()
        repro.stdout.close()
        repro.stderr.close()
    run(project, "dvc", "repro", *ALONE, "subset", **warm)
    assert "up to date" in run(project, "dvc", "status")
    assert not run(project, "git", "status", "--porcelain")
    assert not list((project / "data").glob("*tmp*"))


def test_a_lock_file_that_a_power_cut_has_emptied_is_named(project):
    """What then helps stands in the README."""
    path = project / ".dvc/tmp/rwlock"
    path.write_text("")
    try:
        said = run(project, "dvc", "repro", *ALONE, "acquire", code=255)
    finally:
        path.unlink()
    assert "Unable to read RWLock-file '.dvc/tmp/rwlock'" in said
    assert "up to date" in run(project, "dvc", "status")


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Calls ``alone`` as a script with these arguments would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    def of(*arguments, **environment):
        monkeypatch.setattr(sys, "argv", list(arguments))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return alone()

    return of


def test_the_lock_is_of_one_command_and_is_gone_with_it(stage, tmp_path):
    with stage("stages/train.py", "--fusion", "late", "--downsampling", "maxpool"):
        with (
            pytest.raises(UserError, match=rf"already \(process {os.getpid()}\)"),
            stage("stages/train.py", "--downsampling=maxpool", "--fusion=late"),
        ):
            pass
        with stage("stages/train.py", "--fusion", "add", "--downsampling", "maxpool"), stage("stages/other.py"):
            pass
        with stage("src/cilp/app/__main__.py"), stage("src/cilp/app/__main__.py"):  # no stage
            pass
        with stage("stages/train.py", "--fusion", "late", "--downsampling", "maxpool", RANK="1"):  # of torchrun
            pass
    assert not list(tmp_path.iterdir())


def test_a_lock_that_a_killed_process_has_left_holds_nobody_up(stage, tmp_path):
    script = "import os, sys, signal; from cilp.pipeline.alone import alone; sys.argv = ['stages/train.py']\n"
    script += f"with alone(): os.kill(os.getpid(), {signal.SIGKILL.value})"
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob("cilp-*.lock"))) == 1
    with stage("stages/train.py"):
        pass
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_locked_the_stage_runs(stage, tmp_path, monkeypatch):
    guard = stage("stages/train.py")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    with guard:
        pass
