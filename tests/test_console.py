from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from clone import ROOT

from cilp.console import cli, progress
from cilp.errors import UserError
from cilp.pipeline import meanwhile


def test_without_a_terminal_progress_is_plain_lines_at_intervals(capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with progress.ProgressBar("train", 40, unit="samples") as bar:
        for step in range(1, 5):
            now = 4.0 * step  # lines are due after 10 seconds, and at the end
            bar.advance(10, f"loss {1 / step:.2f}")
    assert capsys.readouterr().out.splitlines() == [
        "train: 30/40 samples (2 samples/s)  loss 0.33",
        "train: 40/40 samples (2 samples/s)  loss 0.25",
    ]


def test_track_yields_every_item_and_counts_it(capsys):
    assert list(progress.track([3, 1, 2], "files", unit="file")) == [3, 1, 2]
    assert "files: 3/3 file" in capsys.readouterr().out


def test_what_ends_it_early_is_not_hidden_by_a_last_line_that_nobody_reads(monkeypatch):
    def gone(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", gone)
    with pytest.raises(SystemExit), progress.ProgressBar("train", 40, unit="samples") as bar:
        bar.advance(10)
        raise SystemExit(143)


def test_a_terminal_gets_a_bar_with_figures_and_rate(capsys, monkeypatch):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    with progress.ProgressBar("train", 2, unit="samples") as bar:
        bar.advance(2, "loss 0.31  valid accuracy 0.9")
    shown = capsys.readouterr()
    assert "train: 100%" in shown.err
    assert "2/2" in shown.err
    assert "loss 0.31" in shown.err
    assert not shown.out


@pytest.mark.parametrize(
    ("problem", "code", "message"),
    [
        (UserError("lower it."), 2, "error: lower it.\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ..."),
            2,
            "error: The GPU's memory is too small (CUDA out of memory); free some of it, use fewer scenes, or set "
            "device to cpu.\n",
        ),
    ],
)
def test_problems_of_the_user_are_one_line_and_an_exit_code(capsys, problem, code, message):
    def main():
        raise problem

    with pytest.raises(SystemExit) as exit_:
        cli.run(main)
    assert exit_.value.code == code
    assert capsys.readouterr().err == message


def test_a_file_that_a_stage_would_have_written_is_named_with_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        cli.run(lambda: Path("metrics/audit/fixed_size.json").read_text())
    assert capsys.readouterr().err == "error: metrics/audit/fixed_size.json is missing; run `dvc repro` to write it.\n"
    with pytest.raises(FileNotFoundError):
        cli.run(lambda: Path("src/gone.py").read_text())


PIPELINE = """
stages:
  train:
    matrix: {fusion: [late, add]}
    cmd: python stages/train.py --fusion ${item.fusion}
    deps: [data/packed.pt, stages/train.py, src/cilp/training, "src/cilp/${item.fusion}.py"]
    params: [seeds, "fusion.${item.fusion}", fusion.late.lr]
"""


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """A stage of a pipeline, as DVC runs it."""
    monkeypatch.chdir(tmp_path)
    for path in ("stages/train.py", "src/cilp/training/loop.py", "src/cilp/late.py", "src/cilp/add.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("1")
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "params.yaml").write_text("seeds: [51]\nfusion: {late: {lr: 1}, add: {lr: 1}}\ncilp: {lr: 1}\n")
    monkeypatch.setenv("DVC_STAGE", "train@late")
    monkeypatch.setattr("sys.argv", ["train.py", "--fusion", "late"])
    return tmp_path


@pytest.mark.parametrize(
    ("file", "text", "named"),
    [
        ("stages/train.py", "2", "stages/train.py"),
        ("src/cilp/training/loop.py", "2", "src/cilp/training/loop.py"),
        ("src/cilp/training/new.py", "2", "src/cilp/training/new.py"),
        ("src/cilp/late.py", "2", "src/cilp/late.py"),
        ("src/cilp/add.py", "2", None),
        ("params.yaml", "seeds: [52]\nfusion: {late: {lr: 1}, add: {lr: 1}}\n", "seeds"),
        ("params.yaml", "seeds: [51]\nfusion: {late: {lr: 2}, add: {lr: 1}}\n", "fusion.late and fusion.late.lr"),
        ("params.yaml", "seeds: [51]\nfusion: {late: {lr: 1}, add: {lr: 2}}\ncilp: {lr: 9}\n", None),
        ("dvc.yaml", "stages: {train: {cmd: [", None),  # half an edit: DVC has read it, and the training is done
        ("dvc.yaml", "stages: {}", None),
    ],
)
def test_what_changes_while_a_stage_runs_is_not_written_down_beside_its_results(stage, capsys, file, text, named):
    """DVC takes code and params for what made the results as they are when the stage is through."""
    run = partial(cli.run, lambda: (stage / file).write_text(text))
    if named is None:
        run()
        return
    with pytest.raises(SystemExit) as exit_:
        run()
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {named} changed while this stage ran, so that its results")


@pytest.mark.parametrize("text", ["seeds: [51", None, b"\xff"])
def test_params_that_cannot_be_read_once_a_stage_is_through_are_named(stage, capsys, text):
    def main():
        (stage / "params.yaml").unlink()
        if text:
            (stage / "params.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(SystemExit) as exit_:
        cli.run(main)
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: params.yaml cannot be read any more (")
    assert said.endswith("mend it and run `dvc repro` again.\n")


def test_what_dvc_fills_in_is_known_for_every_stage_of_the_pipeline(monkeypatch):
    """A name that stays as it is written would be looked at nowhere, and an edit there go unnoticed."""
    monkeypatch.chdir(ROOT)
    settings = yaml.safe_load(Path("params.yaml").read_text())
    for name, stage in yaml.safe_load(Path("dvc.yaml").read_text())["stages"].items():
        items = {item: settings for item in stage.get("matrix", ())}
        for item, values in stage.get("matrix", {}).items():
            for part in values.strip("${}").split("."):
                items[item] = items[item][part]
        argv = [word for item in items for word in (f"--{item}", str(items[item][0]))]
        keys = [""]
        if "foreach" in stage:
            keys = settings["cilp_ablation"]["recipes"] if isinstance(stage["foreach"], str) else stage["foreach"]
        monkeypatch.setattr("sys.argv", ["stage.py", *argv])
        for key in keys:
            state = meanwhile._state(*meanwhile._declared(name, key))
            assert len(state) > 1 and not [known for known in state if "${" in known]
            declared = stage.get("do", stage).get("params", [])
            assert len([known for known in state if not known.startswith(("src/", "stages/"))]) == len(declared)
            assert all(state[known] is not None for known in state if not known.startswith("data.folder"))


def test_by_hand_one_may_edit_while_a_stage_runs(stage, monkeypatch):
    monkeypatch.delenv("DVC_STAGE")
    cli.run(lambda: (stage / "stages/train.py").write_text("2"))


def test_what_is_our_own_fault_keeps_its_traceback():
    def main():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.run(main)
