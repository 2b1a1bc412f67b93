"""How fast the study is on this machine, as ratios to the reference study's loop, and what limits it.

    PYTHONPATH=src python benchmarks/bench.py

Needs ``data/packed.pt`` (``dvc repro pack``), and the models for the start-up of the later stages. Ours and theirs take
turns, on the same samples (``turns.py``); a row shows the median ratio and the lowest and highest. Writes
``benchmarks/results/<device>.json`` at the end; what is interrupted leaves its rows in ``<device>.json.part``. Run it
with nothing beside it.
"""

import argparse
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import reference_loop as theirs
import torch
from bench_pipeline import add_whole_study, measure_dvc, measure_dvc_while_stages_run, measure_simulator, measure_start
from bench_table import Bench, Row, device_name
from bench_training import (
    PACKED,
    measure_classifier,
    measure_contrastive,
    measure_frozen,
    measure_whole_runs,
    product_rate,
)
from turns import Side, in_turns

from cilp import packed, params
from cilp.console import cli
from cilp.training.device import describe, prepare_device


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    device = prepare_device(params.lookup(settings, "device"))  # as that of the stages, which are measured too
    machine = describe(device)
    print(f"{machine['device']}; torch {machine['torch']}, Python {machine['python']}\n")
    print("| what | measured | to reach |\n| --- | --- | --- |", flush=True)
    bench = Bench(device, Path(f"benchmarks/results/{device_name(machine)}.json"))
    data = packed.load(PACKED)
    measure_peak(bench)
    measure_whole_runs(bench, data, settings)
    for measure in (measure_contrastive, measure_frozen):
        apart(bench, measure)
    for downsampling, aim in (("maxpool", ">= 1.8x"), ("strided", ">= 1.6x")):
        for name in theirs.FUSIONS:
            apart(bench, measure_classifier, name, downsampling, aim)
    add_whole_study(bench, machine)
    measure_simulator(bench)
    measure_dvc(bench)
    measure_dvc_while_stages_run(bench)
    measure_start(bench)
    bench.finish()
    print(f"\n{bench.path}")


def measure_peak(bench: Bench) -> None:
    """What the machine can do at most, and on a CPU how many times the rate of one thread that is.

    Threads that share a core share its multipliers.
    """
    flops, kind = product_rate(bench), "TF32" if bench.device.type == "cuda" else "float32"
    bench.add(f"large matrix product, {kind}", f"{flops / 1e9:,.0f} GFLOP/s", flops_per_second=flops)
    threads = torch.get_num_threads()
    if bench.device.type == "cpu" and threads > 1:
        torch.set_num_threads(1)
        gain = flops / product_rate(bench)
        torch.set_num_threads(threads)
        bench.add(f"  of {threads} threads against one", f"{gain:.1f}x", gain=gain)


def apart(bench: Bench, measure: Callable[..., None], *arguments: object) -> None:
    """The rows of ``measure(bench, *arguments)``, from processes of its own, as the study has one for each training.

    On a CPU two that take turns; one on a GPU, where memory is asked for once and kept.
    """
    kind = bench.device.type
    if kind == "cpu":
        bench.keep(in_turns(rows_of, measure, kind, *arguments))
        return
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        bench.keep(process.submit(rows_of, None, measure, kind, *arguments).result())


def rows_of(side: Side | None, measure: Callable[..., None], device: str, *arguments: object) -> list[Row]:
    """What ``measure`` adds, here."""
    bench = Bench(prepare_device(device), side=side)
    measure(bench, *arguments)
    return bench.rows


if __name__ == "__main__":
    cli.run(main)
