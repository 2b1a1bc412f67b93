import csv
import json
import os
import re
import statistics
import subprocess
import sys

import pytest
from clone import ROOT

from cilp.errors import UserError
from cilp.report.curves import draw_loss_curves
from cilp.report.tables import ablation_json, ablation_markdown, comparison_json, comparison_markdown
from cilp.report.variants import read_variants
from cilp.training.seeds import write_cost, write_metrics, write_rows

LOSSES = {"late-maxpool": [0.1, 0.2, 0.3], "late-strided": [0.2, 0.4, 0.3], "add-maxpool": [0.5, 0.5, 0.5]}
LOSSES["add-strided"] = [0.5, 0.5, 0.5]


def write_variant(root, name, losses, parameters=1234567):
    multiply_adds = 50_000_000 if name.endswith("maxpool") else 12_000_000
    figures = {
        51 + i: {"valid_loss": loss, "valid_accuracy": 1 - loss, "test_accuracy": 0.9 - loss}
        for i, loss in enumerate(losses)
    }
    costs = {seed: {"train_seconds": 10.0, "samples_per_second": 2000.4, "peak_memory_mb": 601.0} for seed in figures}
    write_metrics(root / f"metrics/fusion/{name}.json", figures, parameters=parameters, multiply_adds=multiply_adds)
    write_rows(root / f"metrics/fusion/{name}.csv", [{"seed": seed, **f} for seed, f in figures.items()])
    write_cost(
        root / f"costs/fusion/{name}.json", costs, device="a CPU", torch="2.15.0", python="3.11.7",
        samples={"train": 1600, "val": 400, "test": 2000},
    )  # fmt: skip
    curves = [
        {"seed": seed, "epoch": epoch, "train_loss": 0.7 / epoch, "valid_loss": 0.8 / epoch}
        for seed in figures
        for epoch in (1, 2, 3)
    ]
    write_rows(root / f"plots/fusion/{name}.csv", curves)


@pytest.fixture
def root(tmp_path):
    for name, losses in LOSSES.items():
        write_variant(tmp_path, name, losses)
    return tmp_path


def cells(markdown, row):
    (line,) = re.findall(rf"^\| {re.escape(row)} \|(.*)\|$", markdown, flags=re.MULTILINE)
    return [cell.strip() for cell in line.split("|")]


def test_the_comparison_shows_mean_and_spread_of_exactly_the_declared_variants(root):
    variants = read_variants(["late"], "maxpool", root)
    table = comparison_markdown(variants, "simulate")
    assert list(comparison_json(variants)) == ["late"]
    assert cells(table, "metric") == ["late"]
    assert cells(table, "validation loss") == ["0.2000 ± 0.1000"]
    assert cells(table, "parameters") == ["1,234,567"]
    assert cells(table, "training samples/s") == ["2,000 ± 0"]
    assert comparison_json(variants)["late"]["valid_loss_std"] == pytest.approx(statistics.stdev([0.1, 0.2, 0.3]))


def test_the_table_says_where_it_comes_from(root):
    table = comparison_markdown(read_variants(["late", "add"], "maxpool", root), "simulate")
    for fact in ("simulated data", "1,600 training", "2,000 held-out", "51, 52, 53", "a CPU", "torch 2.15.0"):
        assert fact in table


def test_differences_are_taken_seed_by_seed(root):
    strided, maxpool = (read_variants(["late", "add"], d, root) for d in ("strided", "maxpool"))
    figures = ablation_json(strided, maxpool)
    by_seed = [0.2 - 0.1, 0.4 - 0.2, 0.3 - 0.3]
    assert figures["late"]["valid_loss_difference"] == pytest.approx(0.1)
    assert figures["late"]["valid_loss_difference_std"] == pytest.approx(statistics.stdev(by_seed))
    table = ablation_markdown(strided, maxpool, "simulate")
    assert cells(table, "validation loss") == ["0.3000 ± 0.1000 (+0.1000 ± 0.1000)", "0.5000 ± 0.0000 (=)"]
    assert cells(table, "validation accuracy")[0] == "0.7000 ± 0.1000 (-0.1000 ± 0.1000)"
    assert cells(table, "parameters")[0] == "1,234,567 (=)"
    assert cells(table, "multiply-adds")[0] == "12 M (-38 M)"


def test_measured_cost_stays_out_of_the_reproducible_figures(root):
    strided, maxpool = (read_variants(["late"], d, root) for d in ("strided", "maxpool"))
    for figures in (comparison_json(maxpool), ablation_json(strided, maxpool)):
        assert not {key for key in figures["late"] if "seconds" in key or "memory" in key or "second" in key}


def test_one_seed_has_no_spread(tmp_path):
    write_variant(tmp_path, "late-maxpool", [0.25])
    write_variant(tmp_path, "late-strided", [0.5])
    strided, maxpool = (read_variants(["late"], d, tmp_path) for d in ("strided", "maxpool"))
    assert "±" not in comparison_markdown(maxpool, "simulate")
    assert "one seed" in comparison_markdown(maxpool, "simulate")
    assert cells(ablation_markdown(strided, maxpool, "simulate"), "validation loss") == ["0.5000 (+0.2500)"]


def test_differences_between_different_seeds_are_refused(root):
    write_variant(root, "late-strided", [0.1, 0.2])
    strided, maxpool = (read_variants(["late"], d, root) for d in ("strided", "maxpool"))
    with pytest.raises(UserError, match="different seeds"):
        ablation_json(strided, maxpool)


def test_a_declared_variant_without_results_is_named(root):
    with pytest.raises(UserError, match="dvc repro train_fusion@hadamard-maxpool"):
        read_variants(["late", "hadamard"], "maxpool", root)


def test_the_curves_are_one_reproducible_picture_that_shows_every_variant(root):
    variants = [v for d in ("maxpool", "strided") for v in read_variants(["late", "add"], d, root)]
    draw_loss_curves(variants, root / "plots/fusion", root / "a.png")
    draw_loss_curves(variants, root / "plots/fusion", root / "b.png")
    assert (root / "a.png").read_bytes() == (root / "b.png").read_bytes()
    with open(root / "plots/fusion/add-strided.csv") as file:
        rows = list(csv.DictReader(file))
    write_rows(root / "plots/fusion/add-strided.csv", [{**row, "valid_loss": 0.01} for row in rows])
    draw_loss_curves(variants, root / "plots/fusion", root / "b.png")
    assert (root / "a.png").read_bytes() != (root / "b.png").read_bytes()


def test_json_refuses_what_is_no_number(tmp_path):
    with pytest.raises(ValueError, match="Out of range"):
        write_metrics(tmp_path / "m.json", {51: {"valid_loss": float("nan")}})
    assert not list(tmp_path.iterdir())
    write_metrics(tmp_path / "m.json", {51: {"valid_loss": 0.5}, 52: {"valid_loss": 0.7}}, parameters=3)
    assert json.loads((tmp_path / "m.json").read_text())["seeds"] == 2


@pytest.mark.parametrize(
    "stage", ["compare_fusion", "ablate_strided", "compare_cilp", "compare_data_efficiency", "write_report"]
)
def test_tables_and_report_are_written_without_pytorch(stage):
    ask = f"sys.argv[1:] = ['--help']; runpy.run_path('stages/{stage}.py', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", f"import runpy, sys; sys.modules['torch'] = None; {ask}"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": "src"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
