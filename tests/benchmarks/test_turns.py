"""Benchmarks whose two sides take turns in processes of their own."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clone import ROOT

TOLD_TO_END = """
import signal, sys
sys.path[:0] = sys.argv[1:]
import turns
from test_turns import wait

if __name__ == "__main__":
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(3))
    signal.alarm(2)
    turns.in_turns(wait)
"""


@pytest.fixture
def turns():
    import turns

    return turns


def processes(side, rounds):
    """Of each turn, the process that takes it."""
    names = ["ours", "theirs"] * rounds
    return os.environ["THP_MEM_ALLOC_ENABLE"], os.getpid(), [side.turn(name, os.getpid) for name in names]


def fail(side, name):
    if side.name == name:
        raise ValueError(name)
    return side.turn(name, os.getpid)


def fail_before(side):
    """Theirs never comes to a turn; ours has many to tell it of."""
    if side.name == "theirs":
        raise ValueError("theirs")
    for _ in range(1000):
        side.turn("ours", os.getpid)
        time.sleep(0.01)


def test_each_turn_is_taken_by_its_side_alone_and_told_to_the_other(turns, monkeypatch):
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "as before")
    huge, ours, taken = turns.in_turns(processes, 3)
    assert huge == "1"
    assert taken[::2] == [ours] * 3
    (theirs,) = set(taken[1::2])
    assert theirs not in (ours, os.getpid())
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "as before"


@pytest.mark.parametrize("name", ["ours", "theirs"])
def test_a_side_that_fails_ends_both(turns, name):
    with pytest.raises(ValueError, match=f"^{name}$"):
        turns.in_turns(fail, name)


def test_what_the_other_then_cannot_be_told_does_not_hide_why(turns):
    with pytest.raises(ValueError, match=r"^theirs$"):
        turns.in_turns(fail_before)


def wait(side):
    time.sleep(60)


def test_who_is_told_to_end_does_so_at_once(tmp_path):
    (tmp_path / "told.py").write_text(TOLD_TO_END)
    paths = (str(ROOT / "benchmarks"), str(ROOT / "tests"), str(Path(__file__).parent))
    assert subprocess.run([sys.executable, tmp_path / "told.py", *paths], timeout=30, check=False).returncode == 3
