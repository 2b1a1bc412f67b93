"""Rows of the benchmark that are about the pipeline: the study's training time, the simulator, DVC, and start-up."""

import functools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import reference_loop as theirs
from bench_table import REPEATS, Bench

from cilp import params
from cilp.models.layers.blocks import DOWNSAMPLINGS

STAGES = {
    "train_fusion": ["--fusion", "concat", "--downsampling", "maxpool"],
    "train_lidar": [],
    "pretrain_cilp": [],
    "train_projector": [],
    "train_rgb2lidar": [],
    "train_image": ["--told", "lidar"],
    "train_fusion_course": ["--fusion", "concat", "--downsampling", "maxpool", "--seed", "51"],
}
TABLES = ("compare_fusion", "ablate_strided", "compare_cilp", "compare_audit", "write_report")
"""Stages that a clone can run without data or models."""
AS_MAKE_DOES = "  DVC as `make repro` runs it"
DVC = ("dvc", "cilp.pipeline.quick_dvc")
"""By itself and so; either takes its turn."""


def add_whole_study(bench: Bench, machine: dict[str, str]) -> None:
    """What training took in the study whose results lie here: one seed of each run, the mean over the seeds.

    The aim is for what the reference study trained: its fusions, the LiDAR classifier, and CILP with all behind it.
    """
    variants = [f"fusion/{name}-{downsampling}" for name in theirs.FUSIONS for downsampling in DOWNSAMPLINGS]
    common = {Path(f"costs/{name}.json") for name in (*variants, "lidar", "cilp", "projector", "rgb2lidar")}
    every = common | set(Path("costs/fusion").glob("*.json"))
    costs = {path: json.loads(path.read_text()) for path in every if path.is_file()}
    for what, paths, aim in (
        ("training, one seed of all that the reference study trained", common, "<= 35 min on 2 cores"),
        ("training, one seed of that, the baselines and modality dropout", every, ""),
    ):
        if not paths <= costs.keys() or any(costs[path]["device"] != machine["device"] for path in paths):
            bench.add(what, "not measured: `dvc repro` on this machine first", aim)
            continue
        seconds = sum(costs[path]["train_seconds"] for path in paths)
        bench.add(what, f"{seconds / 60:.0f} min", aim, seconds=seconds)


def measure_simulator(bench: Bench) -> None:
    """3,000 scenes, 6,000 pairs, rendered and written to disk."""
    from cilp.raw.simulate import simulate
    from cilp.simulation.scenes import SimulateParams

    simulation = params.section(params.load(), "data.simulate", SimulateParams)
    with tempfile.TemporaryDirectory() as folder:
        seconds = bench.seconds(lambda: simulate(Path(folder), 3000, simulation))
    bench.add("simulator, 6,000 pairs written", f"{seconds:.1f} s", "<= 60 s", seconds=seconds)


def measure_dvc(bench: Bench) -> None:
    """``dvc repro`` where everything is up to date, by itself and as ``make repro`` runs it.

    Where not all data and models are here, DVC is told to allow that, and has a little less to look at.
    """
    what, aim = "`dvc repro` that has nothing to do", "<= 3 s"
    for options in ([], ["--allow-missing"]):
        if options:
            what = f"`dvc repro {options[0]}`, some data not being here, that has nothing to do"
        command = [sys.executable, "-m", "cilp.pipeline.quick_dvc", "repro", *options]
        dry = subprocess.run([*command, "--dry"], capture_output=True, text=True, check=False)
        if not dry.returncode and "Running stage" not in dry.stdout:
            break
    else:
        bench.add(what, "not measured: there is something to do, or `dvc repro --dry` fails", aim)
        return
    found: dict[str, list[float]] = {what: [], AS_MAKE_DOES: []}
    for _ in range(REPEATS):
        for runs, module in zip(found.values(), DVC, strict=True):
            command = [sys.executable, "-m", module, "repro", *options]
            runs.append(bench.seconds(functools.partial(subprocess.run, command, capture_output=True, check=True)))
    for title, runs in found.items():
        bench.add(title, f"{statistics.median(runs):.1f} s", aim, seconds=statistics.median(runs))


def measure_dvc_while_stages_run(bench: Bench) -> None:
    """What DVC itself takes for a stage that runs: of the committed pipeline, in a clone, with stages that do nothing.

    Several are compared with one, in which DVC has started as well.
    """
    environment = {**os.environ, "PYTHONPATH": str(Path("src").resolve())}
    with tempfile.TemporaryDirectory() as folder:
        clone = ["git", "clone", "--quiet", "--no-local", "--depth", "1", Path.cwd().as_uri(), folder]
        subprocess.run(clone, check=True, capture_output=True)
        pipeline = Path(folder, "dvc.yaml")
        pipeline.write_text(pipeline.read_text().replace("PYTHONPATH=src python stages/", "true "))

        def repro(module: str, names: Sequence[str]) -> None:
            command = [sys.executable, "-m", module, "repro", "--force", "--single-item", *names]
            subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)

        what = "DVC's own work for a stage that runs"
        found: dict[str, list[float]] = {what: [], AS_MAKE_DOES: []}
        for _ in range(REPEATS):
            for runs, module in zip(found.values(), DVC, strict=True):
                one, all_of_them = (
                    bench.seconds(functools.partial(repro, module, names)) for names in (TABLES[:1], TABLES)
                )
                runs.append((all_of_them - one) / (len(TABLES) - 1))
        for title, runs in found.items():
            bench.add(title, f"{statistics.median(runs):.2f} s", seconds=statistics.median(runs))


START = """
import os, sys, time
start = time.perf_counter()

def stop(*_):
    print("SECONDS", time.perf_counter() - start, flush=True)
    os._exit(0)

sys.argv = sys.argv[1:]
stage = {"__name__": "stage"}
exec(open(sys.argv[0]).read(), stage)
from torch.optim.optimizer import register_optimizer_step_post_hook
register_optimizer_step_post_hook(stop)
stage["cli"].run(stage["main"])
"""
"""A stage as a script, which imports what it does in its own order, and is stopped after its first step."""


def measure_start(bench: Bench) -> None:
    """From the first import of a training stage to the end of its first step, in a process of its own, W&B aside."""
    environment = {**os.environ, "WANDB_MODE": "disabled"}
    for stage, options in STAGES.items():
        command = [sys.executable, "-c", START, f"stages/{stage}.py", *options]
        runs = []
        for _ in range(REPEATS):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            found = re.search(r"^SECONDS (\S+)$", done.stdout, flags=re.MULTILINE)
            if found:
                runs.append(float(found[1]))
        what, aim = f"first import to first step, {stage}", "<= 5 s"
        if runs:
            bench.add(what, f"{statistics.median(runs):.1f} s", aim, seconds=statistics.median(runs))
        else:
            said = (done.stderr.strip() or "it took no step").splitlines()[-1]
            bench.add(what, f"not measured: {said}", aim)
