"""Where the time of each training stage goes: the operations with the largest shares of its steps.

    PYTHONPATH=src python benchmarks/profile_stages.py [--device auto]

Runs each stage as it is, but stops it after a number of steps, profiled by ``torch.profiler`` once they are warm; what
the stages write at the end is never reached. Needs what the stages need (``dvc repro``). Writes
``benchmarks/results/profile-<device>.json``.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from bench import STAGES, device_name

from cilp.atomic import write_json
from cilp.console import cli
from cilp.training.device import describe, prepare_device

WARM, PROFILED = 10, 40
"""Steps before the profile, and in it."""
LARGEST = 6
"""Operations shown; the rest is one figure."""

PROFILE = """
import json, os, runpy, sys, time
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

warm, profiled = int(sys.argv[1]), int(sys.argv[2])
profiler = torch.profiler.profile()
steps, start = 0, 0.0

def step(*_):
    global steps, start
    steps += 1
    if steps == warm:
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

register_optimizer_step_post_hook(step)
sys.argv = sys.argv[3:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    device = prepare_device(parser.parse_args().device)
    machine = describe(device)
    fusion = STAGES["train_fusion"]
    stages = {"train_fusion, max-pooling": fusion, "train_fusion, strided": [*fusion[:-1], "strided"], **STAGES}
    del stages["train_fusion"]
    found = {}
    for title, options in stages.items():
        profile = profiled(title.split(",")[0], options)
        if profile is None:
            print(f"{title}: not profiled; run `dvc repro` first")
            continue
        column = 1 if device.type == "cuda" else 0
        times = {name: time[column] for name, time in profile["times"].items()}
        largest = sorted(times, key=times.__getitem__, reverse=True)[:LARGEST]
        shares = {name: times[name] / profile["seconds"] for name in largest}
        found[title] = {"step_seconds": profile["seconds"] / profile["steps"], "shares": shares}
        print(f"{title}: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()), flush=True)
    write_json(Path(f"benchmarks/results/profile-{device_name(machine)}.json"), {**machine, "stages": found})


def profiled(stage: str, options: list[str]) -> dict | None:
    """Seconds of the profiled steps, and by operation the seconds it took itself on the host and on the GPU."""
    command = [sys.executable, "-c", PROFILE, str(WARM), str(PROFILED), f"stages/{stage}.py", *options]
    environment = {**os.environ, "WANDB_MODE": "disabled"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    match = re.search(r"^PROFILE (.*)$", done.stdout, flags=re.MULTILINE)
    return json.loads(match[1]) if match else None


if __name__ == "__main__":
    cli.run(main)
