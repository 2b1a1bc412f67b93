"""What the Makefile hands on, and its shortest way from a clone to tables."""

import re
import shlex
import shutil
import subprocess

import pytest
from clone import ENVIRONMENT, ROOT, commit, run

TABLES = ("fusion_comparison", "strided_ablation", "cilp_results")
PIPELINE = f"""
stages:
  tables:
    cmd: mkdir -p metrics && for table in {" ".join(TABLES)}; do echo "the table $table" > metrics/$table.md; done
    params: [significance.resamples]
    outs:
{"".join(f"      - metrics/{table}.md: {{cache: false}}{chr(10)}" for table in TABLES)}"""
"""A pipeline that makes the tables of the study at once."""


@pytest.mark.parametrize(
    ("asked", "runs"),
    [
        (["report"], ["cilp.report.pull_request", "--base", "main"]),
        (["report", "BASE=a b", "HEAD=tried"], ["cilp.report.pull_request", "--base", "a b", "--head", "tried"]),
        (["report", "IMAGES=https://host/raw"], ["cilp.report.pull_request", "--base", "main", "--images", "https://host/raw"]),
        (["plots", "REVS=main v1"], ["cilp.report.page", "main", "v1"]),
        (["claims"], ["cilp.report.claimed", "--metrics", "metrics"]),
        (["claims", "METRICS=there/metrics"], ["cilp.report.claimed", "--metrics", "there/metrics"]),
        (
            ["verify", "STAGES=pack train_lidar"],
            ["cilp.pipeline.warm", "python", "-m", "cilp.verify", "pack", "train_lidar"],
        ),
        (["app", "PORT=5152"], ["cilp.app", "--port", "5152"]),
        (
            ["exp", "SET=a=[1] b.c=5", "OPTIONS=--queue"],
            ["cilp.pipeline.warm", "python", "-m", "cilp.experiment", "-S", "a=[1]", "-S", "b.c=5", "--queue"],
        ),
    ],
)  # fmt: skip
def test_what_it_is_given_goes_on_to_the_command(asked, runs):
    command = ["make", "--dry-run", *asked, "READY="]
    dry = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
    words = shlex.split(dry)
    assert words[words.index("-m") + 1 :] == runs


def test_results_are_accepted_only_where_that_is_asked_for():
    for asked, options in (([], []), (["ACCEPT=yes"], ["--accept"]), (["ACCEPT=no"], [])):
        command = ["make", "--dry-run", "unchanged", "READY=", "BASE=v1", *asked]
        dry = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
        assert shlex.split(dry)[2:] == ["tests/unchanged.py", "--base", "v1", *options]


def test_without_a_python_that_is_new_enough_nothing_is_set_up(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").touch()
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for python in (old, tmp_path / "none"):
        command = ["make", "setup", f"PYTHON={python}"]
        done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        said = f"error: {python} is missing or too old; name a Python from 3.11 on: make PYTHON=python3.12 ..."
        assert said in done.stderr.splitlines()
        assert not (tmp_path / ".venv").exists()


def test_quick_prints_its_tables_and_leaves_results_and_experiments_alone(tmp_path):
    for name in ("Makefile", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "src").symlink_to(ROOT / "src")
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/fusion_comparison.md").write_text("results of mine\n")
    run(tmp_path, "git", "init", "--quiet")
    run(tmp_path, "dvc", "init", "--quiet")
    commit(tmp_path, "mine")
    params = tmp_path / "params.yaml"
    params.write_text(params.read_text() + "\n# not committed\n")
    before = run(tmp_path, "git", "status", "--porcelain"), params.read_text()
    printed = run(tmp_path, "make", "quick", "READY=", "QUICK=-S significance.resamples=300")
    assert [re.search(f"^the table {table}$", printed, re.MULTILINE) is not None for table in TABLES] == [True] * 3
    assert "too few scenes and epochs to conclude from" in printed
    assert (run(tmp_path, "git", "status", "--porcelain"), params.read_text()) == before
    assert (tmp_path / "metrics/fusion_comparison.md").read_text() == "results of mine\n"
    assert not run(tmp_path, "git", "for-each-ref", "refs/exps/*/*/quick")
