"""What an epoch of training costs as the data grows: time and memory from 1,000 pairs to more than memory should hold.

    PYTHONPATH=src python benchmarks/scale.py

Renders 50,000 scenes, 100,000 pairs, into packed files of growing size, 3.3 GB for the largest, in a temporary folder.
On each, late fusion with max-pooling trains for an epoch, in a process of its own. Every few seconds it is the turn of
another one, which trains on 2,000 pairs: the speed of a machine changes. The largest is more than is kept in memory
(``cilp.training.stream``) and streamed in shards. Writes ``benchmarks/results/scale-<device>.json`` and
``docs/scale.png``. Run it with nothing beside it: 15 minutes on two cores.
"""

import argparse
import contextlib
import io
import itertools
import json
import math
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from bench_table import device_name, part_of
from torch import Tensor, nn

from cilp import packed, params
from cilp.atomic import replacing, write_json
from cilp.console import cli
from cilp.models import fusion
from cilp.packing import pack_scenes
from cilp.simulation.processes import rendering
from cilp.simulation.scenes import SimulateParams
from cilp.training.classifier import TrainingParams, train_classifier
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import Split, load_split
from cilp.training.loop import Run, steps_of_a_pass

SCENES = (500, 1000, 2000, 4000, 9999, 50_000)
VALID = 10
"""Scenes of the validation split, whatever the size of the training split."""
BASE = 1000
"""Scenes of what the others are held against."""
LEAST = 4000
"""Pairs that are trained on at least, in as many epochs as that takes."""
STRETCH = 63
"""Steps that either trains before it is the other's turn: an epoch of 2,000 pairs."""
BOUND = 4 * 2**30
"""Bytes that training may take on a CPU."""
FIGURE = Path("docs/scale.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--measure", type=Path, nargs=2, metavar="FILE", help="only train on a packed file, and on another in between"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    arguments = parser.parse_args()
    if arguments.measure:
        print("COST " + json.dumps(measure(*arguments.measure, arguments.device)))
        return
    rows, machine = [], describe(prepare_device(arguments.device))
    results = Path(f"benchmarks/results/scale-{device_name(machine)}.json")
    with tempfile.TemporaryDirectory() as folder:
        base, path = Path(folder) / "base.pt", Path(folder) / "packed.pt"
        whole = rendered(max(SCENES) + VALID)
        packed.save(first(whole, BASE), base)
        for scenes in SCENES:
            packed.save(first(whole, scenes), path)
            command = [sys.executable, __file__, "--measure", str(path), str(base), "--device", arguments.device]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows.append({"pairs": 2 * scenes, **json.loads(done.stdout.rpartition("COST ")[2])})
            print(rows[-1], flush=True)
            write_json(part_of(results), {**machine, "rows": rows})
    part_of(results).replace(results)
    draw(rows, machine["device"])


def rendered(scenes: int) -> packed.Packed:
    """Packed data of the default scenes."""
    simulation = params.section(params.load(), "data.simulate", SimulateParams)
    return pack_scenes({"train": range(scenes)}, partial(rendering, simulation))


def first(data: packed.Packed, scenes: int) -> packed.Packed:
    """The first ``scenes`` for training, and ``VALID`` more."""
    end = 2 * (scenes + VALID)
    split = torch.zeros(end, dtype=torch.uint8)
    split[2 * scenes :] = packed.SPLITS.index("val")
    rows = {name: getattr(data, name)[:end].clone() for name in ("rgb", "range", "label", "scene", "sensor")}
    return replace(data, split=split, **rows)


class InTurns(Split):
    """A split that ``instead`` interrupts before every ``STRETCH``-th batch that is asked for."""

    @classmethod
    def of(cls, split: Split, instead: Callable[[], None]) -> "InTurns":
        """The same samples."""
        made = cls(**vars(split))
        object.__setattr__(made, "instead", instead)
        object.__setattr__(made, "number", itertools.count())
        return made

    def inputs(self, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Image and XYZA of the given rows."""
        if next(self.number) % STRETCH == 0:
            self.instead()
        return super().inputs(rows)


def measure(path: Path, base: Path, device_name: str) -> dict[str, float]:
    """Seconds of an epoch over the training split of a packed file, and of one over that of ``base``, in turns.

    And the peak memory of the process in bytes, in which ``base`` is, too.
    """
    device = prepare_device(device_name)
    (train, valid), (other, _) = (
        [load_split(packed.load(file), split, device) for split in ("train", "val")] for file in (path, base)
    )
    once = TrainingParams(epochs=1, batch_size=32, lr=1e-3, lr_min=1e-6)
    pauses, bases, peaks = [], [], [peak_bytes(device)]

    def instead() -> None:
        start = time.perf_counter()
        peaks.append(peak_bytes(device))  # training starts the mark anew
        with contextlib.redirect_stdout(io.StringIO()):
            done = train_classifier(build, other, valid, once, Run(51, "base"))
        bases.append(len(other) / done.cost["samples_per_second"])
        pauses.append(time.perf_counter() - start)

    def build() -> nn.Module:
        return fusion.build("late", "maxpool", 50.0)

    protocol = replace(once, epochs=math.ceil(LEAST / len(train)))
    start = time.perf_counter()
    train_classifier(build, InTurns.of(train, instead), valid, protocol, Run(51, "scale"))
    seconds = (time.perf_counter() - start - math.fsum(pauses)) / protocol.epochs
    peak = max(*peaks, peak_bytes(device))
    steps = steps_of_a_pass(len(train), protocol.batch_size, train.shard)
    return {
        "seconds": seconds, "steps": steps, "base_pairs": len(other), "base_seconds": statistics.mean(bases),
        "peak_bytes": peak, "streamed": train.shard is not None,
    }  # fmt: skip


def peak_bytes(device: torch.device) -> int:
    """Most memory since the mark was reset or the process began: what CUDA allocated, or what the process held.

    Files that it maps count.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status").read_text()  # not getrusage's: that begins with what the parent held
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024


def draw(rows: list[dict], device: str) -> None:
    """Epoch time, relative to that of 2,000 pairs, and peak memory against the number of pairs, both logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pairs = np.array([row["pairs"] for row in rows])
    values = (
        ("epoch time, relative to 2,000 pairs", np.array([row["seconds"] / row["base_seconds"] for row in rows])),
        ("peak memory of the process (GiB)", np.array([row["peak_bytes"] for row in rows]) / 2**30),
    )
    figure, axes = pyplot.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
    streamed = np.array([row["streamed"] for row in rows])
    for axis, (title, value) in zip(axes, values, strict=True):
        axis.plot(pairs, value, color="0.7", zorder=1)
        axis.scatter(pairs[~streamed], value[~streamed], color="C0", label="in memory", zorder=2)
        axis.scatter(pairs[streamed], value[streamed], color="C1", marker="s", label="streamed in shards", zorder=2)
        axis.set(xscale="log", xlabel="training pairs", title=title)
        axis.grid(alpha=0.3)
    axes[0].set_yscale("log")
    axes[0].plot(pairs, pairs / rows[0]["base_pairs"], "k:", linewidth=1, label="linear")
    axes[1].axhline(BOUND / 2**30, color="k", linestyle=":", linewidth=1, label="bound, 4 GiB")
    axes[1].set_ylim(0, 4.4)
    for axis in axes:
        axis.legend(frameon=False, loc="upper left" if axis is axes[0] else "center left")
    figure.suptitle(f"Late fusion with max-pooling, one epoch on {device}", fontsize=10)
    with replacing(FIGURE, "wb") as file:
        figure.savefig(file, format="png", dpi=120)


if __name__ == "__main__":
    cli.run(main)
