"""Both sides of the benchmark's rows run, on a little data; how long they take is measured elsewhere."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from clone import ENVIRONMENT, ROOT, committed_results
from synthetic import make_packed

from cilp import packed
from cilp.errors import UserError


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """``bench_training`` on made-up data, and a benchmark that runs each side of a row once."""
    import bench_table
    import bench_training

    class Once(bench_table.Bench):
        def ratio(self, what, ours, other, aim, warm_up=(), **_):
            for run in (*warm_up, ours, other):
                run()
            self.add(what, "both ran", aim)
            return 1.0

    packed.save(make_packed(40, 20, 2), tmp_path / "packed.pt")
    monkeypatch.setattr(bench_training, "PACKED", tmp_path / "packed.pt")
    monkeypatch.setattr(bench_training, "SAMPLES", {"train": 64, "val": 32})
    monkeypatch.setattr(bench_training, "CONTRASTIVE_BATCH", 16)
    monkeypatch.chdir(ROOT)
    return bench_training, Once(torch.device("cpu"))


def test_the_rows_that_train_run_on_both_sides(bench):
    training, rows = bench
    training.measure_classifier(rows, "add", "strided", ">= 1.6x")
    training.measure_frozen(rows)
    training.measure_contrastive(rows)
    assert [row.value for row in rows.rows].count("both ran") == 3
    share, memory = (row for row in rows.rows if row.value != "both ran")
    assert 0 < share.figures["operations"] <= 1
    assert 0 < memory.figures["our_bytes"] < memory.figures["their_bytes"]


def test_every_benchmark_can_be_imported():
    """None but those above is run here."""
    names = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
    assert "bench" in names and "scale" in names
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'benchmarks'}"}
    command = [sys.executable, "-c", f"import {', '.join(names)}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


def test_the_last_whole_table_stays_until_there_is_another(bench, tmp_path):
    import bench_table

    path = tmp_path / "device.json"
    path.write_text("of the last run")
    rows = bench_table.Bench(torch.device("cpu"), path)
    rows.add("a", "1.0 s", seconds=1.0)
    assert path.read_text() == "of the last run"
    assert json.loads((tmp_path / "device.json.part").read_text())["rows"][0]["seconds"] == 1.0
    rows.finish()
    assert [row["what"] for row in json.loads(path.read_text())["rows"]] == ["a"]
    assert [file.name for file in tmp_path.glob("device*")] == ["device.json"]


def test_a_stage_that_cannot_be_profiled_is_said_with_its_own_words(monkeypatch, tmp_path, capsys):
    import profile_stages

    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["profile_stages.py"])
    monkeypatch.setattr(profile_stages, "STAGES", {"train_fusion": ["--fusion", "x", "maxpool"]})
    monkeypatch.setattr(profile_stages, "prepare_device", lambda name: torch.device("cpu"))
    with pytest.raises(UserError, match="train_fusion, max-pooling, train_fusion, strided: not profiled"):
        profile_stages.main()
    assert "not profiled: FileNotFoundError:" in capsys.readouterr().out


def test_the_time_of_the_study_is_that_of_its_own_trainings(bench, tmp_path, monkeypatch):
    """Whatever else has a cost on record, perhaps of another machine."""
    import bench_pipeline

    _, rows = bench
    monkeypatch.chdir(committed_results(tmp_path))
    device = json.loads(Path("costs/cilp.json").read_text())["device"]
    bench_pipeline.add_whole_study(rows, {"device": device})
    assert [row.value.endswith(" min") for row in rows.rows] == [True, True]
    assert 0 < rows.rows[0].figures["seconds"] < rows.rows[1].figures["seconds"]
    bench_pipeline.add_whole_study(rows, {"device": "another"})
    assert [row.value[:12] for row in rows.rows[2:]] == ["not measured"] * 2
