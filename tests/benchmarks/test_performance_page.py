"""docs/performance.md shows what was measured."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from clone import ROOT, committed, committed_results

from cilp.errors import UserError
from cilp.pipeline import record
from cilp.report.docs import insert_tables


@pytest.fixture
def document():
    import document

    return document


def test_its_tables_are_those_of_the_results(document, tmp_path):
    page, there = (ROOT / document.PAGE).read_text(encoding="utf-8"), committed_results(tmp_path)
    tables = document.tables(ROOT / document.RESULTS, there / "metrics", there / "dvc.lock")
    assert set(tables) == {"bench", "profile", "scale", "accuracy", "same_start", "study"}
    assert insert_tables(page, tables) == page


def test_memory_stays_within_the_bound_and_a_pair_costs_no_more_among_many(document):
    for path in (ROOT / document.RESULTS).glob("scale-*.json"):
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        assert max(row["pairs"] for row in rows) == 100_000 and rows[-1]["streamed"]
        assert all(row["peak_bytes"] <= 4 * 2**30 for row in rows)
        costs = [row["seconds"] / row["pairs"] / row["base_seconds"] for row in rows]
        assert all(cost < 1.1 * min(costs[:number]) for number, cost in enumerate(costs) if number)


@pytest.fixture
def study():
    import study

    return study


def test_the_study_that_was_timed_has_no_other_stages_than_there_are(study):
    locked = set(record.parse(committed("dvc.lock")))
    for path in (ROOT / "benchmarks/results").glob("study-*.json"):
        timed = json.loads(path.read_text(encoding="utf-8"))
        assert {*timed["stages"], *timed["missing"]} <= locked | {study.BEFORE}
        assert timed == timed | study.record(timed["stages"], [*timed["stages"], *timed["missing"]])
    assert set(study.REFERENCE_STAGES) <= locked | {study.BEFORE}


def test_a_study_is_timed_from_what_the_project_is_made_of_alone(study, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    study.copy(tmp_path)
    assert (tmp_path / "dvc.yaml").read_text() == (ROOT / "dvc.yaml").read_text()
    left = {"dvc.lock", "metrics", "plots", "costs", "reports", "data", "models", ".dvc/cache", "unfinished"}
    assert not [name for name in left if (tmp_path / name).exists()]


def test_figures_of_seeds_are_read_to_the_last_digit(study, tmp_path):
    (tmp_path / "a.csv").write_text("seed,x\n51,0.9656004136456177\n")
    assert study.figures_by_seed(tmp_path / "a.csv", "x") == {"51": 0.9656004136456177}


@pytest.mark.parametrize("device", ["NVIDIA H200", "AMD EPYC, 2 threads"])
def test_a_study_is_held_to_what_its_device_aims_at(document, tmp_path, device):
    """And where the committed figures are those of that very run, there is no difference to tabulate."""
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/lidar.csv").write_text("seed,test_accuracy\n51,0.9\n52,0.95\n")
    content = {
        "device": device, "stages": {"before": 1.0, "train": 1199.0}, "missing": ["report"], "seconds": 1200.0,
        "seconds_of_the_reference_study": 600.0, "missing_of_the_reference_study": [],
        "train_seconds": {"costs/cilp.json": {"51": 9.0, "52": 8.0}},
        "results": {"metrics/lidar.csv": {"figure": "test_accuracy", "there": {"51": 0.9, "52": 0.95}}},
    }  # fmt: skip
    table = document.study(content, tmp_path / "metrics", ["train", "report", "embed"])
    assert "1 of 2 stages; then it was stopped (since then there is embed, too) | 20.0 min |" in table
    assert table.count("**missed**") == (3 if "NVIDIA" in device else 0)
    assert "committed ones" in table and "difference" not in table
    content["results"]["metrics/lidar.csv"]["there"]["51"] = 0.91
    table = document.study(content, tmp_path / "metrics")
    assert "| lidar, accuracy | 0.9250 ± 0.0354 | 0.9300 ± 0.0283 | +0.0050" in table
    assert "claims" not in table
    table = document.study(content | {"claims": {"count": 3, "failing": {"a:b > 0.9": "0.8000"}}}, tmp_path / "metrics")
    assert "Of the 3 different claims that the pages make of the committed figures, 2 hold there. The others:" in table
    assert table.endswith("| claim | there |\n| --- | --- |\n| `a:b > 0.9` | 0.8000 |\n")
    table = document.study(content | {"claims": {"count": 3, "failing": {}}}, tmp_path / "metrics")
    assert table.endswith("figures, 3 hold there.\n")


def test_a_study_that_was_interrupted_goes_on_and_its_parts_are_summed(study, tmp_path, monkeypatch):
    (tmp_path / "benchmarks/results").mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    clock = iter(range(100))
    monkeypatch.setattr(study.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(study, "prepare_device", lambda name: torch.device("cpu"))
    monkeypatch.setattr(study, "names", lambda folder: ["first", "second"])
    monkeypatch.setattr(study, "copy", lambda folder: (folder.mkdir(), (folder / "dvc.yaml").touch()))
    monkeypatch.setattr(sys, "argv", ["study.py", "--keep", "there"])

    def interrupted(folder, targets):
        yield from (("first", True), ("second", True))
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "stages", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study.main()
    (path,) = Path("benchmarks/results").glob("study-*.json")
    timed = json.loads(path.read_text(encoding="utf-8"))
    assert (timed["stages"], timed["missing"]) == ({study.BEFORE: 1, "first": 1}, ["second"])
    assert (timed["begun"], timed["parts"]) == ({"second": 1}, 1)
    monkeypatch.setattr(sys, "argv", ["study.py", "--keep", "there", "second"])
    before = path.read_text(encoding="utf-8")
    for runs, seconds in ((True, 2), (False, 1)):  # or it had run to its end
        path.write_text(before, encoding="utf-8")
        monkeypatch.setattr(
            study, "stages", lambda folder, targets, runs=runs: iter([("first", False), (*targets, runs), (None, True)])
        )
        study.main()
        timed = json.loads(path.read_text(encoding="utf-8"))
        assert (timed["stages"], timed["missing"]) == ({study.BEFORE: 2, "first": 1, "second": seconds}, [])
        assert (timed["begun"], timed["parts"], timed["seconds"]) == ({}, 2, 3 + seconds)
    other = json.loads(before) | {"study": "of another folder"}
    path.write_text(json.dumps(other), encoding="utf-8")
    with pytest.raises(UserError, match="with its times is missing; name a new folder"):
        study.main()
    path.unlink()
    with pytest.raises(UserError, match="with its times is missing; name a new folder"):
        study.main()


def test_a_folder_that_is_of_something_else_is_left_alone(study, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["study.py", "--keep", str(tmp_path)])
    for name in ("dvc.yaml", "reports/mine.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match="is not empty and holds no study that was begun; name a new folder"):
        study.main()
    assert (tmp_path / "reports/mine.md").read_text() == "mine" and not (tmp_path / "Makefile").exists()


def test_a_stage_that_failed_is_none_that_is_done(study, tmp_path, monkeypatch):
    said = ["Running stage 'first':", "ERROR: failed to reproduce 'first': failed to run: x", "Running stage 'second':"]
    script = tmp_path / "cilp/pipeline/warm.py"
    script.parent.mkdir(parents=True)
    script.write_text(
        f"import sys\nfor line in {said}: print(line, file=sys.stderr if line[0] == 'E' else None, flush=True)"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert list(study.stages(tmp_path, [])) == [("first", True), ("first", None), ("second", True), (None, True)]


def test_a_thousand_times_as_fast_is_no_miss(document):
    assert document.reached({"measured": "1,034.2x", "to reach": ">= 300x", "ratio": 1034.2})
    assert not document.reached({"measured": "134.2x", "to reach": ">= 300x", "ratio": 134.2})


def test_what_is_rounded_to_its_aim_has_missed_it(document):
    assert not document.reached({"measured": "5.0 s", "to reach": "<= 5 s", "seconds": 5.02})
    assert document.reached({"measured": "35 min", "to reach": "<= 35 min on 2 cores", "seconds": 2100.0})
    assert not document.reached({"measured": "35 min", "to reach": "<= 35 min on 2 cores", "seconds": 2101.0})
    assert document.reached({"measured": "not measured: no GPU here", "to reach": "<= 3 s"})


def test_the_reference_loop_is_not_held_against_ours_of_other_data_or_protocols(document, tmp_path):
    shutil.copytree(ROOT / document.RESULTS, tmp_path / "results")
    params = (committed_results(tmp_path) / "params.yaml").read_text(encoding="utf-8")

    def rows(text):
        (tmp_path / "params.yaml").write_text(text)
        tables = document.tables(tmp_path / "results", tmp_path / "metrics", tmp_path / "dvc.lock")
        return tables["accuracy"].count("\n| ") - 2

    assert rows(params) == 8
    assert rows(params.replace("scenes: 3000", "scenes: 2000")) == 0
    assert rows(params.replace("concat: {epochs: 20", "concat: {epochs: 30")) == 0


def test_what_it_says_in_short_is_what_was_measured(document):
    """The ratios of an epoch, from the least to the most of all variants on CPUs, and on the GPU; on CPUs, of the
    contrastive loss and of the frozen stages too, each with its slowest turn."""
    short = (ROOT / document.PAGE).read_text(encoding="utf-8").split("\n## ")[0]
    found, apart = {"cpu": [], "gpu": []}, {}
    for path in sorted((ROOT / document.RESULTS).glob("[ain][mnv]*.json")):  # not those of other benchmarks
        content = json.loads(path.read_text(encoding="utf-8"))
        kind = "gpu" if "NVIDIA" in content["device"] else "cpu"
        found[kind] += [row["ratio"] for row in content["rows"] if row["what"].startswith("training epoch")]
        if kind == "cpu":
            for what in ("contrastive loss", "frozen stages"):
                apart.setdefault(what, []).extend(row for row in content["rows"] if row["what"].startswith(what))
    for ratios in found.values():
        assert len(ratios) % 8 == 0 and f"{min(ratios):.1f} to {max(ratios):.1f} times" in short
    for rows in apart.values():
        ratios = [row["ratio"] for row in rows]
        assert f"{min(ratios):.0f} to {max(ratios):.0f} times" in short
        assert f"({min(row['lowest'] for row in rows):.0f} in the slowest turn" in " ".join(short.split())
