"""How long the whole study takes here, from nothing, and what its results are, to be held against the committed ones.

    PYTHONPATH=src python benchmarks/study.py [--keep FOLDER] [STAGE ...]

Copies the project's files to a new folder, without data, models, results, ``dvc.lock`` or cache, and runs
``dvc repro --keep-going`` there as ``make repro`` does. Writes ``benchmarks/results/study-<device>.json``, stage by
stage: what is interrupted keeps what it has, and goes on in the same FOLDER. With names of stages it runs those and
what they need, and leaves the rest to the next time. Run it with nothing beside it.
"""

import argparse
import contextlib
import json
import math
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench_table import device_name
from document import figures_by_seed
from reference_loop import FUSIONS

from cilp import params
from cilp.atomic import write_json, write_text
from cilp.console import cli
from cilp.errors import UserError
from cilp.models.layers.blocks import DOWNSAMPLINGS
from cilp.report.claimed import check, pages
from cilp.report.claims import Figures
from cilp.training.device import describe, prepare_device

VARIANTS = [f"{fusion}-{downsampling}" for fusion in FUSIONS for downsampling in DOWNSAMPLINGS]
RESULTS = {
    **{f"metrics/fusion/{variant}.csv": "test_accuracy" for variant in VARIANTS},
    "metrics/lidar.csv": "test_accuracy",
    "metrics/cilp.csv": "test_twin_accuracy",
    "metrics/projector.csv": "test_cosine",
    "metrics/rgb2lidar.csv": "test_accuracy",
}
"""What the reference study trained, and what is compared of it."""
BEFORE = "before the first stage"
MARK = ".cilp-study"
"""File in the folder of a study that names it, as the file with its times does."""
REFERENCE_STAGES = (
    BEFORE,
    *("check_params", "acquire", "subset", "pack", "draw_scenes", "pack_unlabelled"),
    *(f"train_fusion@{variant}" for variant in VARIANTS),
    *("train_lidar", "pretrain_cilp", "embed", "plot_similarity", "train_projector", "train_rgb2lidar"),
    *("compare_fusion", "ablate_strided", "compare_cilp"),
)
"""Of this study's stages, those that do what the reference study did, data and tables included."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where to run it, and to leave it, or to go on")
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="what to run, with what it needs (default: all)")
    arguments = parser.parse_args()
    folder = arguments.keep
    machine = describe(prepare_device(params.lookup(params.load(), "device")))
    path = Path(f"benchmarks/results/study-{device_name(machine)}.json").resolve()
    with contextlib.ExitStack() as stack:
        folder = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cilp-study-")))
        before: dict[str, Any] = {}
        mark = folder / MARK
        if mark.is_file():
            before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            if before.get("study") != mark.read_text(encoding="utf-8"):
                raise UserError(f"{folder} holds a study, but {path} with its times is missing; name a new folder.")
        elif folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"{folder} is not empty and holds no study that was begun; name a new folder.")
        else:
            copy(folder)
            write_text(mark, secrets.token_hex(8))
        which = mark.read_text(encoding="utf-8")
        done, begun, parts = before.get("stages", {}), before.get("begun", {}), before.get("parts", 0) + 1
        every = names(folder)

        def keep() -> None:
            timed = {**record(done, every), "begun": begun, "parts": parts, "study": which}
            write_json(path, {**machine, **timed, **outcome(folder)})

        running, last = BEFORE, time.perf_counter()
        begun[BEFORE] = done.get(BEFORE, 0.0)
        try:
            for stage, runs in stages(folder, arguments.stages):
                if runs is None:  # the seconds until here are of no stage that is done
                    running, last = None, time.perf_counter()
                    done.pop(stage, None)
                    continue
                if not runs:
                    if stage in begun:  # it had run when the part before ended, which did not come to say so
                        done[stage] = begun.pop(stage)
                    continue
                now = time.perf_counter()
                if running is not None:
                    done[running] = begun.pop(running, 0.0) + now - last
                running, last = stage, now
                keep()
        finally:
            if running is not None:
                begun[running] = begun.get(running, 0.0) + time.perf_counter() - last
                keep()
    print(f"{sum(done.values()) / 60:.1f} minutes; {path}")


def copy(folder: Path) -> None:
    """The project's files, as they are here, as a repository of their own that has run nothing yet."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]  # new files too
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for path in map(Path, filter(None, listed.split("\0"))):
        if path.is_file() and path.parts[0] not in ("dvc.lock", "metrics", "plots", "costs", "reports"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / path)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)


def names(folder: Path) -> list[str]:
    """All stages that there are."""
    command = [sys.executable, "-m", "dvc", "stage", "list", "--name-only"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.split()


def stages(folder: Path, targets: list[str]) -> Iterator[tuple[str | None, bool | None]]:
    """The stages' names as ``dvc repro`` of ``targets`` comes to them, and None when it is through.

    And whether a stage runs, or there is already what it would give; None if it has failed.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, ["src", os.environ.get("PYTHONPATH")]))}
    dvc = ["dvc", "repro", "--keep-going", *targets]
    command = [sys.executable, "-m", "cilp.pipeline.warm", *dvc]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}  # where DVC says what failed
    with subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipe) as process:
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                if found := re.match(r"(Running s|S)tage '([^']+)'", line):
                    yield found[2], found[1] != "S"
                elif found := re.search(r"failed to reproduce '([^']+)'", line):
                    yield found[1], None
        except BaseException:
            process.terminate()
            raise
    yield None, True
    if process.returncode:
        sys.exit(process.returncode)


def record(done: dict[str, float], every: list[str]) -> dict[str, Any]:
    """Seconds of each stage, what DVC does about it included, and of them together."""
    return {
        "stages": done,
        "missing": [name for name in every if name not in done],
        "seconds": math.fsum(done.values()),
        "seconds_of_the_reference_study": math.fsum(done.get(name, 0.0) for name in REFERENCE_STAGES),
        "missing_of_the_reference_study": [
            name for name in REFERENCE_STAGES if name in {BEFORE, *every} and name not in done
        ],
    }


def outcome(folder: Path) -> dict[str, Any]:
    """Seconds of each training run, the seeds' figures, by file, and at the end which claims of the pages hold."""
    costs = {path: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("costs/**/*.json"))}
    claims = {}
    if (folder / "reports/study.md").is_file():  # written last
        texts = [page.read_text(encoding="utf-8") for page in pages()]
        claims = {"claims": asdict(check(texts, Figures(folder / "metrics")))}
    return {
        **claims,
        "train_seconds": {
            str(path.relative_to(folder)): {seed: run["train_seconds"] for seed, run in cost["per_seed"].items()}
            for path, cost in costs.items()
        },
        "results": {
            name: {"figure": column, "there": figures_by_seed(folder / name, column)}
            for name, column in RESULTS.items()
            if (folder / name).is_file()
        },
    }


if __name__ == "__main__":
    cli.run(main)
