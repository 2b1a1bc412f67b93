"""``make unchanged``: what a refactoring is compared by, and how DVC then takes its code."""

import sys

import pytest
import unchanged
from clone import run

from cilp.errors import UserError


@pytest.fixture
def main(monkeypatch):
    """What it says of two pipelines that wrote such outputs."""

    def said(before, after, *arguments):
        wrote = iter([before, after])
        monkeypatch.setattr(unchanged, "written", lambda project, root: next(wrote))
        monkeypatch.setattr(unchanged, "accept", lambda: 3)
        monkeypatch.setattr(sys, "argv", ["unchanged.py", "--base", "HEAD", *arguments])
        unchanged.main()

    return said


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
    found = unchanged.written(tmp_path / "project", unchanged.ROOT)
    assert found == {"metrics/a.md": "| test accuracy | 0.9 |\n", "models/a.pt": "0a"}


def test_dvc_takes_the_code_over_where_data_and_models_are_not_here(project, monkeypatch):
    monkeypatch.setattr(unchanged, "ROOT", project)
    source = project / "src/cilp/models/embedder.py"
    source.write_text(source.read_text() + "\n# says the same\n")
    for path in (project / "data/packed.pt", *(project / "models").rglob("*.pt")):
        path.unlink()
    assert "Running stage 'pretrain_cilp@" in run(project, "dvc", "repro", "--dry", "--allow-missing")
    before = (project / "dvc.lock").read_text()
    assert unchanged.accept() > 5
    assert "Running stage" not in run(project, "dvc", "repro", "--dry", "--allow-missing")
    assert unchanged.but_for_code(unchanged.parse(before)) == unchanged.but_for_code(
        unchanged.parse((project / "dvc.lock").read_text())
    )


def test_what_other_params_would_change_is_no_matter_of_code(project, monkeypatch):
    monkeypatch.setattr(unchanged, "ROOT", project)
    params, before = project / "params.yaml", (project / "dvc.lock").read_text()
    params.write_text(params.read_text().replace("test: 6", "test: 5", 1))
    with pytest.raises(UserError, match=r"params or commands are others than those of dvc.lock"):
        unchanged.accept()
    assert (project / "dvc.lock").read_text() == before
