"""The report of a branch against its base, made in a temporary repository that holds the committed results."""

import contextlib
import csv
import io
import json
import subprocess
import sys

import pytest
import yaml
from clone import ENVIRONMENT, ROOT

from cilp.report import pull_request
from cilp.report.revisions import read_revision
from cilp.report.verdict import BETTER, NO_SPREAD, NOISE, ONE_SEED, UNCHANGED, WORSE, judge
from cilp.training.seeds import write_metrics, write_rows

SEEDS = (1, 2, 3)
FUSIONS, DOWNSAMPLINGS = ("late", "concat"), ("maxpool", "strided")
FIGURES = {"valid_loss": [0.10, 0.20, 0.30], "valid_accuracy": [0.90, 0.91, 0.92], "test_accuracy": [0.80, 0.81, 0.82]}
CILP = {
    "lidar": ("valid_loss", "test_accuracy"),
    "cilp": ("valid_loss", "test_unscaled_loss", "test_twin_accuracy"),
    "retrieval": ("image_to_lidar_recall_at_1", "image_to_lidar_recall_at_5"),
    "projector": ("valid_loss", "test_cosine"),
    "rgb2lidar": ("valid_loss", "test_accuracy"),
    "image_supervised": ("valid_loss", "test_accuracy"),
    "image_distilled": ("valid_loss", "test_accuracy"),
}


def git(project, *arguments):
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    command = ["git", *identity, *arguments]
    done = subprocess.run(command, cwd=project, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(project, message):
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", message)


WITHOUT_THE_REST = """
import runpy, sys
class Absent:
    def find_spec(self, name, *_):
        if name.split(".")[0] in ("torch", "dvc", "matplotlib", "fiftyone", "pandas"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
runpy.run_module("cilp.report.pull_request", run_name="__main__", alter_sys=True)
"""


def report(project, *arguments):
    """What it prints."""
    said, before = io.StringIO(), sys.argv
    with contextlib.chdir(project), contextlib.redirect_stdout(said):
        sys.argv = ["pull_request.py", *arguments]
        try:
            pull_request.main()
        finally:
            sys.argv = before
    return said.getvalue()


def report_by_itself(project, *arguments, code=0):
    """Run it as the workflow does, which installs PyYAML and SciPy alone."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_REST, *arguments],
        cwd=project, env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def write(project, name, figures):
    """The results of a model: ``figures`` holds a value for each seed."""
    path = project / f"metrics/{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_rows(path, [{"seed": seed} | {k: v[i] for k, v in figures.items()} for i, seed in enumerate(SEEDS)])
    per_seed = {seed: {k: v[i] for k, v in figures.items()} for i, seed in enumerate(SEEDS)}
    write_metrics(path.with_suffix(".json"), per_seed, parameters=1000)


def write_costs(project, name):
    path = project / f"costs/{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"train_seconds": 10.0, "samples_per_second": 100.0}))


def shift(project, name, key, by):
    """Change one figure of a model, by as much for each seed as ``by`` says."""
    with open(project / f"metrics/{name}.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    figures = {k: [float(row[k]) for row in rows] for k in rows[0] if k != "seed"}
    figures[key] = [value + change for value, change in zip(figures[key], by, strict=True)]
    write(project, name, figures)


def line(text, start):
    (found,) = [line for line in text.splitlines() if line.startswith(start)]
    return [cell.strip() for cell in found.strip("|").split("|")]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """``main`` with the committed results, ``variation`` with changed ones; ``main`` went on after they parted."""
    project = tmp_path_factory.mktemp("project")
    for fusion in FUSIONS:
        for downsampling in DOWNSAMPLINGS:
            write(project, f"fusion/{fusion}-{downsampling}", FIGURES)
            write_costs(project, f"fusion/{fusion}-{downsampling}")
    for model, keys in CILP.items():
        write(project, model, {key: [0.5, 0.6, 0.7] for key in keys})
    settings = {
        "variants": {"fusion": list(FUSIONS), "downsampling": list(DOWNSAMPLINGS)},
        "fusion": {fusion: {"lr": 1e-3} for fusion in FUSIONS},
    }
    (project / "params.yaml").write_text(yaml.safe_dump(settings))
    lock = {"stages": {"pack": {"outs": [{"path": "data/packed.pt", "md5": "1" * 32}]}}}
    (project / "dvc.lock").write_text(yaml.safe_dump(lock))
    (project / "plots").mkdir()
    for name in ("fusion_loss_curves", "similarity_matrix", "similarity_sorted"):
        (project / f"plots/{name}.png").write_bytes(b"before")
    git(project, "init", "--quiet", "--initial-branch", "main")
    commit(project, "results")
    git(project, "checkout", "--quiet", "-b", "variation")
    settings["fusion"]["late"]["lr"] = 5e-4
    (project / "params.yaml").write_text(yaml.safe_dump(settings))
    shift(project, "fusion/late-maxpool", "valid_loss", [0.5, 0.6, 0.7])
    shift(project, "fusion/late-maxpool", "test_accuracy", [-0.1, 0.2, -0.3])
    shift(project, "fusion/late-strided", "valid_loss", [-0.001] * 3)
    shift(project, "rgb2lidar", "test_accuracy", [0.010, 0.011, 0.012])
    (project / "metrics/fusion/concat-strided.csv").unlink()
    (project / "metrics/significance.json").write_text("{}")
    (project / "metrics/fusion_comparison.json").write_text("{}")  # which the tables show
    (project / "plots/fusion_loss_curves.png").write_bytes(b"after")
    (project / "README.md").write_text(
        "<!-- holds: rgb2lidar:test_accuracy > 0.6 --> <!-- holds: lidar:test_accuracy > 0.9 --> "
        "<!-- holds: fusion/late-maxpool:test_accuracy > 0.8 -->"
    )
    (project / "docs").mkdir()
    (project / "docs/results.md").write_text("<!-- holds: audit/a:b > 0 -->")
    (project / "docs/large.json").write_text("{}")
    commit(project, "variation")
    git(project, "checkout", "--quiet", "main")
    shift(project, "fusion/concat-maxpool", "valid_loss", [1.0, 1.0, 1.0])
    commit(project, "main goes on")
    git(project, "checkout", "--quiet", "variation")
    return project


@pytest.fixture(scope="module")
def text(project):
    return report_by_itself(project)


def test_a_verdict_for_every_model_and_what_changed_on_main_is_no_change_of_the_branch(text):
    late = line(text, "| late, max-pooling")
    assert late[2] == f"**{WORSE}**"
    assert late[1].startswith("+0.6000 [+0.3516, +0.8484]")  # 0.6 -+ t(0.975, 2) * 0.1 / sqrt(3)
    assert late[4] == NOISE
    assert line(text, "| late, strided")[1:3] == ["-0.0010", NO_SPREAD]
    assert line(text, "| concatenation, max-pooling")[1:] == ["=", UNCHANGED, "=", UNCHANGED]
    assert line(text, "| concatenation, strided")[1] == "no longer there"
    assert line(text, "| RGB-to-LiDAR | = |")[2:] == [UNCHANGED, "+0.0110 [+0.0085, +0.0135]", f"**{BETTER}**"]
    assert (
        text.splitlines()[2]
        == "**1 better, 1 worse, 1 within noise, 14 unchanged, 1 no spread: cannot tell, 1 no longer there.**"
    )


def test_every_cell_shows_its_change(text):
    cells = line(text.partition("## Fusion comparison")[2].partition("## Strided")[0], "| validation loss")
    assert cells[1:] == ["0.8000 ± 0.2000 (+0.6000)", "0.2000 ± 0.1000 (=)"]
    assert line(text, "| RGB-to-LiDAR | test accuracy")[2] == "0.6110 ± 0.1010 (+0.0110)"
    assert line(text, "| CILP | unscaled loss")[3] == "-"  # no aim


def test_params_data_and_pictures_before_and_after(project, text):
    assert line(text, "| `fusion.late.lr`") == ["`fusion.late.lr`", "`0.001`", "`0.0005`"]
    assert "The data are the same (training, validation and test data)." in text
    assert "in no table here: `metrics/significance.json`." in text
    assert "![Loss curves before](base/plots/fusion_loss_curves.png)" in text
    assert "Unchanged.\n\n![Similarity matrix](head/plots/similarity_matrix.png)" in text
    for picture in ("base/plots/fusion_loss_curves.png", "head/plots/similarity_matrix.png"):
        assert (project / "report" / picture).is_file()
    assert (project / "report/report.md").read_text() in text


def test_claims_of_the_pages_that_do_not_follow_are_told_with_what_is_there(project, text, tmp_path):
    section = text.partition("## What the pages claim")[2].partition("\n## ")[0]
    mine, _, before = section.partition("<details><summary>2 that did not follow before either</summary>")
    assert "**1 of 4 claims followed from the figures of `main` " in mine and "and do not from these**" in mine
    assert "| README.md | `fusion/late-maxpool:test_accuracy > 0.8` | 0.7433 |" in mine
    assert "| README.md | `lidar:test_accuracy > 0.9` | 0.6000 |" in before
    assert "| docs/results.md | `audit/a:b > 0` | metrics/audit/a.json is missing;" in before
    assert "## What the pages claim" not in report(project, "--head", "main", "--output", str(tmp_path))
    there = read_revision("variation", tmp_path / "there", project).root
    assert [path.name for path in (there / "docs").iterdir()] == ["results.md"]


def test_linked_pictures_name_the_commits(project, tmp_path):
    address = "https://example.org/raw"
    text = report(project, "--images", address, "--output", str(tmp_path / "report"))
    assert f"({address}/{git(project, 'rev-parse', 'variation')}/plots/fusion_loss_curves.png)" in text
    assert f"({address}/{git(project, 'rev-parse', 'variation~1')}/plots/fusion_loss_curves.png)" in text
    assert [path.name for path in (tmp_path / "report").rglob("*")] == ["report.md"]


def test_other_data_are_pointed_out(project, tmp_path):
    git(project, "checkout", "--quiet", "-b", "data", "variation")
    lock = yaml.safe_load((project / "dvc.lock").read_text())
    lock["stages"]["pack"]["outs"][0]["md5"] = "0" * 32
    (project / "dvc.lock").write_text(yaml.safe_dump(lock))
    commit(project, "other data")
    text = report(project, "--base", "variation", "--output", str(tmp_path / "report"))
    git(project, "checkout", "--quiet", "variation")
    assert "**The data are not the same**" in text
    assert "No param." in text


def test_without_twins_a_higher_loss_is_worse_and_what_is_gone_is_said(project, tmp_path):
    git(project, "checkout", "--quiet", "-b", "twins", "variation")
    write(project, "cilp", {"valid_loss": [0.5, 0.6, 0.7], "test_loss": [0.5, 0.6, 0.7]})
    (project / "dvc.lock").unlink()
    commit(project, "no twins")
    write(project, "cilp", {"valid_loss": [0.5, 0.6, 0.7], "test_loss": [0.9, 1.01, 1.12]})
    commit(project, "worse")
    text = report(project, "--base", "twins~1", "--output", str(tmp_path / "report"))
    before = report(project, "--base", "variation", "--output", str(tmp_path / "report"))
    for kind in ("json", "csv"):
        (project / f"metrics/cilp.{kind}").unlink()
    commit(project, "no CILP")
    without = report(project, "--base", "variation", "--output", str(tmp_path / "report"))
    git(project, "checkout", "--quiet", "variation")
    assert line(text, "| CILP | twin test")[2:] == ["not measured", "-"]  # on either side
    assert line(without, "| CILP | twin test")[2:] == ["not measured", "no longer there"]
    assert line(text, "| CILP | =")[4] == f"**{WORSE}**"
    assert "Whether the data are the same is not known" in text
    assert line(before, "| CILP | =")[3] == "other figures"
    assert line(before, "| CILP | twin test")[2:] == ["not measured", "no longer there"]


def test_an_experiment_is_reported_on_by_its_name(project, tmp_path):
    """As DVC keeps it: by the commit that it began at, below ``refs/exps``."""
    sha, start = git(project, "rev-parse", "variation"), git(project, "rev-parse", "variation~1")
    git(project, "update-ref", f"refs/exps/{start[:2]}/{start[2:]}/slow-late", sha)
    text = report(project, "--head", "slow-late", "--output", str(tmp_path / "a"))
    assert text.startswith(f"# Results of `slow-late` (`{sha[:7]}`), compared with `main` (`{start[:7]}`)")
    assert line(text, "| `fusion.late.lr`")[2] == "`0.0005`"


def test_a_base_that_is_not_there_is_refused(project, tmp_path):
    said = report_by_itself(project, "--base", "no-such", "--output", str(tmp_path / "a"), code=2)
    assert "no-such is no revision" in said
    assert not (tmp_path / "a").exists()


def test_verdicts():
    three = {1: 0.50, 2: 0.60, 3: 0.70}
    assert judge(three, three, True).word == UNCHANGED
    assert judge({1: 0.5}, {1: 0.6}, True).word == ONE_SEED
    up = {seed: value + 0.1 + 0.01 * seed for seed, value in three.items()}
    assert judge(three, up, higher_is_better=True).word == BETTER
    assert judge(three, up, higher_is_better=False).word == WORSE
    elsewhere = {seed + 10: value for seed, value in up.items()}  # unpaired, the same difference is lost in the spread
    assert judge(three, elsewhere, True).word == NOISE
    verdict = judge(three, elsewhere, True)
    assert verdict.interval[0] < 0 < verdict.change < verdict.interval[1]
    same_step = {seed: value + 0.0005 for seed, value in {1: 0.9990, 2: 0.9985, 3: 0.9975}.items()}
    assert judge({1: 0.9990, 2: 0.9985, 3: 0.9975}, same_step, True).word == NO_SPREAD  # one sample in 2,000 each
    assert judge(dict.fromkeys((1, 2), 0.5), dict.fromkeys((3, 4), 0.5), True).word == NOISE
