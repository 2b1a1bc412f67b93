"""A ``dvc.lock`` that was cut off costs no stage that had run before."""

import sys
from pathlib import Path

import pytest
from clone import ROOT, run
from tiny import stages_run

from cilp.errors import UserError
from cilp.pipeline.lockfile import COPY, FILE, keep, mend

STAGE = "from pathlib import Path\nfrom cilp.console import cli\ncli.run(lambda: Path('{0}').write_text('{0}'))\n"
INTERRUPTED = """
import sys
from io import StringIO
import dvc.cli
from dvc.utils.serialize import _yaml

def dump(data, file, write=_yaml._dump):
    write(data, text := StringIO())
    if "two" in data["stages"]:
        file.write(text.getvalue()[: text.getvalue().index("stages/one.py") + 7])
        raise KeyboardInterrupt
    file.write(text.getvalue())

_yaml._dump = dump
sys.exit(dvc.cli.main(["repro"]))
"""


def test_who_interrupts_dvc_while_it_writes_the_file_loses_no_stage_that_had_run(tmp_path, quick_dvc):
    environment = {"PYTHONPATH": str(ROOT / "src")}
    (tmp_path / "stages").mkdir()
    pipeline = ["stages:"]
    for name in ("one", "two"):
        script = f"stages/{name}.py"
        (tmp_path / script).write_text(STAGE.format(name))
        deps = [script, "one"] if name == "two" else [script]
        pipeline += [f"  {name}:", f"    cmd: python {script}", f"    deps: [{', '.join(deps)}]"]
        pipeline += [f"    outs: [{name}: {{persist: true}}]"]
    (tmp_path / "dvc.yaml").write_text("\n".join(pipeline) + "\n")
    run(tmp_path, "git", "init", "--quiet")
    run(tmp_path, "dvc", "init", "--quiet")
    run(tmp_path, sys.executable, "-c", INTERRUPTED, code=252, **environment)
    assert stages_run(run(tmp_path, "dvc", "repro", "--dry", **environment)) == ["one", "two"]
    assert "error: dvc.lock was cut off while DVC wrote it; run " in run(
        tmp_path, "dvc", "repro", code=255, **environment
    )
    said = run(tmp_path, sys.executable, "-m", "cilp.pipeline.lockfile", **environment)
    assert said == "dvc.lock was cut off while DVC wrote it; it is again as it was when the last stage began\n"
    assert stages_run(run(tmp_path, "dvc", "repro", **environment)) == ["two"]
    assert not run(tmp_path, sys.executable, "-m", "cilp.pipeline.lockfile", **environment)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that DVC works in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("DVC_STAGE", "one")
    COPY.parent.mkdir(parents=True)
    return tmp_path


def test_what_is_whole_or_is_no_work_of_dvcs_is_left_alone(folder):
    FILE.write_text("stages:\n  one:\n")
    keep()
    for other in ("stages:\n  two:\n", "<<<<<<< HEAD\nstages:\n=======\n>>>>>>> main\n"):
        FILE.write_text(other)
        assert not mend()
        assert FILE.read_text() == other
    FILE.unlink()
    assert not mend()


@pytest.mark.parametrize("cut", ["", "stages:\n  one:\n    cmd: pyth"])
def test_a_file_that_is_cut_off_is_not_kept_and_one_that_is_gone_has_no_copy(folder, cut):
    FILE.write_text("stages:\n  one:\n")
    keep()
    FILE.write_text(cut)
    with pytest.raises(UserError, match=r"^dvc\.lock was cut off"):
        keep()
    assert mend()
    assert FILE.read_text() == "stages:\n  one:\n"
    FILE.unlink()
    keep()
    FILE.write_text(cut)
    keep()
    with pytest.raises(UserError, match=r"run `git checkout dvc\.lock`\.$"):
        mend()
    assert sorted(path.name for path in folder.iterdir()) == [".dvc", "dvc.lock"]


def test_a_stage_that_runs_without_dvc_keeps_none(folder, monkeypatch):
    FILE.write_text("stages:\n  one:\n")
    monkeypatch.delenv("DVC_STAGE")
    keep()
    assert not COPY.exists()
