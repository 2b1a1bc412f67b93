"""How long the whole study takes here, from nothing, and whether its results are those that lie here, but for noise.

    PYTHONPATH=src python benchmarks/study.py [--keep FOLDER]

Copies the project's files to a new folder, without data, models, results, ``dvc.lock`` or cache, and runs
``dvc repro --keep-going`` there as ``make repro`` does. Writes ``benchmarks/results/study-<device>.json``, stage by
stage: what is interrupted keeps what it has. Run it with nothing beside it.
"""

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from bench import device_name
from reference_loop import FUSIONS

from cilp import params
from cilp.atomic import write_json
from cilp.console import cli
from cilp.models.blocks import DOWNSAMPLINGS
from cilp.training.device import describe, prepare_device

RESULTS = {
    **{
        f"metrics/fusion/{fusion}-{downsampling}.csv": "test_accuracy"
        for fusion in FUSIONS
        for downsampling in DOWNSAMPLINGS
    },
    "metrics/lidar.csv": "test_accuracy",
    "metrics/cilp.csv": "test_twin_accuracy",
    "metrics/projector.csv": "test_cosine",
    "metrics/rgb2lidar.csv": "test_accuracy",
}
"""What the reference study trained, and what is compared of it."""
REFERENCE_STAGES = (
    *(f"train_fusion@{fusion}-{downsampling}" for fusion in FUSIONS for downsampling in DOWNSAMPLINGS),
    *("check_params", "acquire", "subset", "pack", "pack_unlabelled", "draw_scenes"),
    *("train_lidar", "pretrain_cilp", "plot_similarity", "train_projector", "train_rgb2lidar"),
    *("compare_fusion", "ablate_strided", "compare_cilp"),
)
"""What of this study's stages the reference study had, data and tables included."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where to run it, and to leave it")
    folder = parser.parse_args().keep
    machine = describe(prepare_device(params.lookup(params.load(), "device")))
    path = Path(f"benchmarks/results/study-{device_name(machine)}.json").resolve()
    with contextlib.ExitStack() as stack:
        folder = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cilp-study-")))
        copy(folder)
        seconds: dict[str, float] = {}
        start = last = time.perf_counter()
        for stage in stages(folder):
            now = time.perf_counter()
            if stage is not None:
                seconds[stage] = 0.0
            if len(seconds) > (stage is not None):
                seconds[list(seconds)[-1 if stage is None else -2]] = now - last
            last = now
            write_json(
                path,
                {
                    **machine,
                    "complete": stage is None,
                    "seconds": now - start,
                    "seconds_of_the_reference_study": sum(seconds.get(name, 0.0) for name in REFERENCE_STAGES),
                    "stages": seconds,
                    "results": compared(folder),
                },
            )
    print(f"{(last - start) / 60:.1f} minutes; {path}")


def copy(folder: Path) -> None:
    """The project's files, as they are here, as a repository of their own that has run nothing yet."""
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if name != "dvc.lock" and Path(name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, folder / name)
    for name in ("metrics", "plots", "costs", "reports"):
        shutil.rmtree(folder / name, ignore_errors=True)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)


def stages(folder: Path) -> Iterator[str | None]:
    """The stages' names as ``dvc repro`` comes to them, and None when it is through."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, ["src", os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, "-m", "cilp.console.warm", sys.executable, "-m", "dvc", "repro", "--keep-going"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                if found := re.match(r"Running stage '(.+)'", line):
                    yield found[1]
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        sys.exit(process.returncode)
    yield None


def compared(folder: Path) -> dict[str, dict[str, list[float]]]:
    """By file and column, the seeds' figures there and here, in the same order."""
    return {
        f"{name} {column}": {
            place: pd.read_csv(at / name)[column].tolist() for place, at in (("there", folder), ("here", Path()))
        }
        for name, column in RESULTS.items()
        if (folder / name).is_file()
    }


if __name__ == "__main__":
    cli.run(main)
