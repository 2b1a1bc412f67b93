import pytest

from cilp.console import cli, progress
from cilp.errors import UserError


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
    [(UserError("lower it."), 2, "error: lower it.\n"), (KeyboardInterrupt(), 130, "interrupted\n")],
)
def test_problems_of_the_user_are_one_line_and_an_exit_code(capsys, problem, code, message):
    def main():
        raise problem

    with pytest.raises(SystemExit) as exit_:
        cli.run(main)
    assert exit_.value.code == code
    assert capsys.readouterr().err == message


def test_what_is_our_own_fault_keeps_its_traceback():
    def main():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.run(main)
