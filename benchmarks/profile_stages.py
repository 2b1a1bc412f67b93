"""Where the time of each training stage goes: the operations with the largest shares of its steps.

    PYTHONPATH=src python benchmarks/profile_stages.py

Runs each stage as it is, but stops it after a number of steps, profiled by ``torch.profiler`` once they are warm; what
the stages write at the end is never reached. On a CPU, shares are of the wall time, Python included; on a GPU, of the
kernels' time, of which there may be more than of wall time, since two encoders run at the same time. Needs what the
stages need (``dvc repro``). Writes ``benchmarks/results/profile-<device>.json``, stage by stage.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from bench_pipeline import STAGES
from bench_table import device_name, part_of

from cilp import params
from cilp.atomic import write_json
from cilp.console import cli
from cilp.errors import UserError
from cilp.training.device import describe, prepare_device

WARM, PROFILED = 10, 40
"""Steps before the profile, and in it."""
LARGEST = 6
"""Operations shown; the rest is one figure."""
KERNELS = {
    r"wgrad|ReduceSplitK": "convolution, gradient of weights",
    r"dgrad": "convolution, gradient of maps",
    r"fprop|ImplicitGemm": "convolution",
    r"first_forward": "first block",
    r"first_backward": "first block, gradients",
    r"pool_forward": "bias, pooling, ReLU",
    r"pool_backward": "bias, pooling, ReLU, gradients",
    r"cudnn|cask": "passes around convolutions",
    r"multi_tensor_apply": "optimiser",
    r"gemm|splitKreduce": "matrix products",
    r"reduce_kernel": "sums",
    r"[Mm]emcpy|[Mm]emset|copy": "copies",
    r"elementwise|CatArray|index|gather": "element by element",
}
"""What a GPU's kernels are called there: the first pattern that is found in a kernel's name."""

PROFILE = """
import json, os, runpy, sys, time
import torch
from torch.optim.lr_scheduler import LRScheduler

warm, profiled = int(sys.argv[1]), int(sys.argv[2])
kinds = torch.profiler.ProfilerActivity
profiler = torch.profiler.profile(activities=[getattr(kinds, sys.argv[3])])
steps, start = -1, 0.0  # a schedule's first step is taken when it is made
plain = LRScheduler.step

def step(schedule, *args, **kwargs):  # of the schedule: the optimiser's may be part of a CUDA graph
    global steps, start
    plain(schedule, *args, **kwargs)
    steps += 1
    if steps == warm:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        profiler.start()
        start = time.perf_counter()
    if steps == warm + profiled:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        profiler.stop()
        times = {}
        for event in profiler.key_averages():
            if not event.key.startswith("ProfilerStep"):
                on_gpu = getattr(event, "self_device_time_total", 0)
                times[event.key] = [event.self_cpu_time_total / 1e6, on_gpu / 1e6]
        print("PROFILE", json.dumps({"seconds": seconds, "steps": profiled, "times": times}), flush=True)
        os._exit(0)

LRScheduler.step = step
sys.argv = sys.argv[4:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    device = prepare_device(params.lookup(params.load(), "device"))  # as that of the stages
    machine = describe(device)
    fusion = STAGES["train_fusion"]
    stages = {"train_fusion, max-pooling": fusion, "train_fusion, strided": [*fusion[:-1], "strided"], **STAGES}
    del stages["train_fusion"]
    found, failed = {}, []
    results = Path(f"benchmarks/results/profile-{device_name(machine)}.json")
    for title, options in stages.items():
        profile = profiled(title.split(",")[0], options, device.type)
        if isinstance(profile, str):
            print(f"{title}: not profiled: {profile}", flush=True)
            failed.append(title)
            continue
        found[title] = on_gpu(profile) if device.type == "cuda" else on_cpu(profile)
        largest = [f"{name} {share:.0%}" for name, share in found[title]["shares"].items()]
        print(f"{title}: {', '.join(largest)}", flush=True)
        write_json(part_of(results), {**machine, "stages": found})
    if failed:
        raise UserError(f"{', '.join(failed)}: not profiled; what they need may be missing: run `dvc repro` first.")
    part_of(results).replace(results)


def on_cpu(profile: dict) -> dict:
    """Operations' shares of the wall time of the steps."""
    times = {name: host for name, (host, _) in profile["times"].items()}
    return {"step_seconds": profile["seconds"] / profile["steps"], "shares": shares(times, profile["seconds"])}


def on_gpu(profile: dict) -> dict:
    """Kinds of kernels' shares of the kernels' time, which is there too."""
    times: dict[str, float] = {}
    for name, (_, seconds) in profile["times"].items():
        kind = next((title for pattern, title in KERNELS.items() if re.search(pattern, name)), name)
        times[kind] = times.get(kind, 0.0) + seconds
    total, steps = sum(times.values()), profile["steps"]
    return {
        "step_seconds": profile["seconds"] / steps,
        "kernel_seconds": total / steps,
        "shares": shares(times, total),
    }


def shares(times: dict[str, float], total: float) -> dict[str, float]:
    """The largest of them."""
    largest = sorted(times, key=times.__getitem__, reverse=True)[:LARGEST]
    return {name: times[name] / total for name in largest}


def profiled(stage: str, options: list[str], device: str) -> dict | str:
    """Seconds of the profiled steps, and by operation the seconds it took itself on the host and on the GPU.

    Of a stage that fails, the last that it says.
    """
    command = [sys.executable, "-c", PROFILE, str(WARM), str(PROFILED), device.upper(), f"stages/{stage}.py", *options]
    environment = {**os.environ, "WANDB_MODE": "disabled"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    match = re.search(r"^PROFILE (.*)$", done.stdout, flags=re.MULTILINE)
    return json.loads(match[1]) if match else (done.stderr.strip() or "it took too few steps").splitlines()[-1]


if __name__ == "__main__":
    cli.run(main)
