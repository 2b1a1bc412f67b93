"""``make unchanged``: what a refactoring is compared by, and how DVC then takes its code."""

import hashlib
import re
import shutil
import sys
from pathlib import Path

import pytest
import unchanged
from clone import run
from quickened import plain_again
from unchanged import Tiny, code_of, parse

from cilp.errors import UserError


@pytest.fixture
def main(monkeypatch):
    """What it says of two pipelines that wrote such outputs."""

    def said(before, after, *arguments):
        wrote = iter([Tiny({}, before), Tiny({}, after)])
        monkeypatch.setattr(unchanged, "tiny", lambda project, root: next(wrote))
        monkeypatch.setattr(unchanged, "accept", lambda before, after: 3)
        monkeypatch.setattr(sys, "argv", ["unchanged.py", "--base", "HEAD", *arguments])
        unchanged.main()

    return said


@pytest.fixture
def source(project, tmp_path, monkeypatch):
    """A module of a clone of the project in which data and models are not here."""
    left = {project / name for name in ("data", "models", "wandb", ".dvc/cache", ".git/home")}

    def ignored(folder, names):
        return {name for name in names if Path(folder) / name in left}

    changing = shutil.copytree(project, tmp_path / "clone", symlinks=True, ignore=ignored)
    monkeypatch.setattr(unchanged, "ROOT", changing)
    plain_again(monkeypatch)
    return changing / "src/cilp/embeddings.py"


def refactored(source):
    """Add a comment; what a tiny pipeline would say of the code before and after."""
    project = source.parents[2]
    before = code_of(parse((project / "dvc.lock").read_text()))
    source.write_text(source.read_text() + "\n# says the same\n")
    digest = hashlib.md5(source.read_bytes()).hexdigest()
    return Tiny(before, {}), Tiny({**before, str(source.relative_to(project)): digest}, {})


def test_what_differs_is_named_and_nothing_is_accepted(main, capsys):
    same = {"models/a.pt": "1", "metrics/b.json": "2"}
    for after in ({**same, "metrics/b.json": "3"}, {**same, "more.csv": "4"}, {"models/a.pt": "1"}):
        with pytest.raises(UserError, match=r"1 output differs from .*: (metrics/b.json|more.csv)\."):
            main(same, after, "--accept")
    assert capsys.readouterr().out == ""


def test_what_is_equal_is_accepted_if_asked(main, capsys):
    main({"a": "1"}, {"a": "1"})
    assert "dvc.lock" not in capsys.readouterr().out
    main({"a": "1"}, {"a": "1"}, "--accept")
    assert "dvc.lock: 3 stages" in capsys.readouterr().out


def test_a_base_that_there_is_not_is_said_in_gits_words(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["unchanged.py", "--base", "nowhere"])
    with pytest.raises(UserError, match="Needed a single revision"):
        unchanged.main()


def test_costs_and_the_rows_that_quote_them_are_left_out(monkeypatch, tmp_path):
    def repro(command, cwd, **_):
        (cwd / "metrics").mkdir()
        (cwd / "metrics/a.md").write_text(
            "| test accuracy | 0.9 |\n| train time (s) | 1.1 |\n| peak memory (MB) | 5 |\n"
        )
        outs = "".join(
            f"    - path: {path}\n      md5: 0a\n" for path in ("metrics/a.md", "costs/a.json", "models/a.pt")
        )
        (cwd / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n  a:\n    cmd: a\n    outs:\n{outs}")
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(unchanged, "clone", lambda *_: None)
    monkeypatch.setattr(unchanged.subprocess, "run", repro)
    found = unchanged.tiny(tmp_path / "project", unchanged.ROOT)
    assert found.wrote == {"metrics/a.md": "| test accuracy | 0.9 |\n", "models/a.pt": "0a"}


def test_dvc_takes_the_code_over_where_data_and_models_are_not_here(source):
    project = source.parents[2]
    before, after = refactored(source)
    lock = parse((project / "dvc.lock").read_text())
    accepted = unchanged.accept(before, after)
    assert "up to date" in run(project, "dvc", "repro", "--dry", "--allow-missing")
    now = parse((project / "dvc.lock").read_text())
    assert unchanged.but_for_code(lock) == unchanged.but_for_code(now)
    assert 3 < accepted < len(now)
    assert accepted == sum(stage != lock[name] for name, stage in now.items())


def test_what_a_stage_no_longer_depends_on_leaves_the_lock_file(source):
    """Its own code is as it was, so that nothing but the list tells."""
    project, dropped = source.parents[2], "src/cilp/sensors.py"
    pipeline = project / "dvc.yaml"
    before, after = refactored(source)
    head, stage, rest = re.split(r"(?m)^(?=  subset:|  pack:)", pipeline.read_text())
    pipeline.write_text(head + stage.replace(f"      - {dropped}\n", "") + rest)
    unchanged.accept(before, after)
    lock = parse((project / "dvc.lock").read_text())
    assert {name for name in ("subset", "pack") if dropped in {dep["path"] for dep in lock[name]["deps"]}} == {"pack"}


def test_a_stage_may_come_to_declare_fewer_params(source):
    """As they stand in the lock file: a whole section, and then some of its keys."""
    project = source.parents[2]
    before, after = refactored(source)
    pipeline, whole = project / "dvc.yaml", 'params: ["fusion.${item.fusion}", seeds, device]'
    assert pipeline.read_text().count(whole) == 1
    pipeline.write_text(pipeline.read_text().replace(whole, 'params: ["fusion.${item.fusion}.lr", seeds, device]'))
    unchanged.accept(before, after)
    lock = parse((project / "dvc.lock").read_text())
    assert lock["train_fusion@late-maxpool"]["params"]["params.yaml"].keys() == {"fusion.late.lr", "seeds", "device"}
    assert "up to date" in run(project, "dvc", "repro", "--dry", "--allow-missing")


def test_ctrl_c_leaves_the_lock_file_as_it_was(source, monkeypatch):
    project = source.parents[2]
    before, after = refactored(source)
    lock = (project / "dvc.lock").read_text()

    def interrupted(*_):
        assert (project / "dvc.lock").read_text() != lock
        raise KeyboardInterrupt

    monkeypatch.setattr(unchanged, "narrower", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unchanged.accept(before, after)
    assert (project / "dvc.lock").read_text() == lock


def test_what_is_more_than_a_refactoring_is_left_to_dvc_repro(source):
    project = source.parents[2]
    before, after = refactored(source)
    other = {name: "0" * 32 for name in before.code}
    params, lock = project / "params.yaml", (project / "dvc.lock").read_text()
    with pytest.raises(UserError, match=r"dvc\.lock names another (src|stages)/\S+ than the base"):
        unchanged.accept(Tiny(other, {}), after)
    with pytest.raises(UserError, match=r"the code has changed since it was compared.*\. dvc\.lock is as it was"):
        unchanged.accept(before, Tiny(before.code, {}))
    params.write_text(params.read_text().replace("test: 6", "test: 5", 1))
    with pytest.raises(UserError, match=r"params or commands are others than those of dvc\.lock"):
        unchanged.accept(before, after)
    params.write_text(params.read_text().replace("test: 5", "test: 6", 1))
    pipeline = project / "dvc.yaml"
    text = pipeline.read_text()
    pipeline.write_text(
        text.replace("params: [variants, seeds, device]", "params: [variants, seeds, device, cilp.steps]")
    )
    assert pipeline.read_text() != text
    with pytest.raises(UserError, match=r"params or commands are others than those of dvc\.lock"):
        unchanged.accept(before, after)
    assert (project / "dvc.lock").read_text() == lock
