"""How fast the study is on this machine, as ratios to the reference study's loop, and what limits it.

    PYTHONPATH=src python benchmarks/bench.py [--device auto]

Needs ``data/packed.pt`` (``dvc repro pack``), and the models for the start-up of the later stages. Ours and theirs take
turns, on the same samples (``turns.py``); a row shows the median ratio and the lowest and highest. Writes
``benchmarks/results/<device>.json``, row by row: what is interrupted keeps what it has. Run it with nothing beside it.
"""

import argparse
import contextlib
import functools
import gc
import io
import json
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import reference_loop as theirs
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from turns import Side, in_turns

from cilp import packed, params
from cilp.atomic import write_json
from cilp.console import cli
from cilp.contrastive.frozen import embed_split
from cilp.contrastive.loss import contrastive_loss
from cilp.contrastive.pairs import load_training_pairs
from cilp.contrastive.pretraining import CilpParams, pretrain
from cilp.contrastive.projection import ProjectorParams, projected_head, train_projector
from cilp.models import embedder, fusion, lidar
from cilp.models.blocks import DOWNSAMPLINGS
from cilp.models.embedder import EmbedderParams
from cilp.training.classifier import TrainingParams, train_classifier
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import Split, load_split

PACKED = Path("data/packed.pt")
SAMPLES = {"train": 480, "val": 120}
"""Samples of an epoch here: three tenths of the study's, in the same proportion."""
CONTRASTIVE_BATCH = 512
REPEATS = 3
STAGES = {
    "train_fusion": ["--fusion", "concat", "--downsampling", "maxpool"],
    "train_lidar": [],
    "pretrain_cilp": [],
    "train_projector": [],
    "train_rgb2lidar": [],
}


@dataclass(frozen=True)
class Row:
    """One line of the table: ``value`` in words, and the figures behind it."""

    what: str
    value: str
    aim: str
    figures: dict[str, float]


class Bench:
    """The rows as they come, on one device, and in the file ``path`` if there is one to be written.

    On a ``side`` of two, both have the same rows, and ours prints them.
    """

    def __init__(self, device: torch.device, path: Path | None = None, side: Side | None = None):
        self.device, self.path, self.side = device, path, side
        self.rows: list[Row] = []

    def add(self, what: str, value: str, aim: str = "", **figures: float) -> None:
        """Print a row and keep it."""
        if self.side is None or self.side.name == "ours":
            print(f"| {what} | {value} | {aim} |", flush=True)
        self.keep([Row(what, value, aim, figures)])

    def keep(self, rows: list[Row]) -> None:
        """Add rows that are printed already."""
        self.rows += rows
        if self.path is not None:
            shown = [{"what": row.what, "measured": row.value, "to reach": row.aim, **row.figures} for row in self.rows]
            write_json(self.path, {**describe(self.device), "rows": shown})

    def ratio(
        self,
        what: str,
        ours: Callable[[], object],
        other: Callable[[], object],
        aim: str,
        repeats: int = REPEATS,
        share: float = 1.0,
    ) -> float:
        """Add the row of how many times as long the other takes; they take turns, after one of each to warm up.

        ``share`` is how much of its work the other does here, where all of its work is alike.
        """
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        for repeat in range(repeats + 1):
            for name, run in (("ours", ours), ("theirs", other)):
                measure = functools.partial(self.seconds, run)
                seconds = measure() if self.side is None else self.side.turn(name, measure)
                if repeat:
                    times[name].append(seconds)
        ratios = [b / share / a for a, b in zip(times["ours"], times["theirs"], strict=True)]
        middle = statistics.median(ratios)
        self.add(
            what,
            f"{middle:,.1f}x ({min(ratios):,.1f} to {max(ratios):,.1f})",
            aim,
            ratio=middle,
            lowest=min(ratios),
            highest=max(ratios),
            our_seconds=statistics.median(times["ours"]),
        )
        return statistics.median(times["ours"])

    def seconds(self, run: Callable[[], object]) -> float:
        """Wall time of a call, whatever it started on the device included."""
        gc.collect()
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):  # progress would tear the table apart
            run()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    device = prepare_device(parser.parse_args().device)
    settings = params.load()
    machine = describe(device)
    print(f"{machine['device']}; torch {machine['torch']}, Python {machine['python']}\n")
    print("| what | measured | to reach |\n| --- | --- | --- |", flush=True)
    bench = Bench(device, Path(f"benchmarks/results/{device_name(machine)}.json"))
    data = packed.load(PACKED)
    peak = measure_peak(bench)
    measure_whole_runs(bench, data, settings)
    for measure in (measure_contrastive, measure_frozen):
        apart(bench, measure)
    for downsampling, aim in (("maxpool", ">= 1.8x"), ("strided", ">= 1.6x")):
        for name in theirs.FUSIONS:
            apart(bench, measure_classifier, name, downsampling, aim, peak)
    add_whole_study(bench, machine, settings)
    measure_simulator(bench)
    measure_dvc(bench)
    measure_start(bench)
    print(f"\n{bench.path}")


def device_name(machine: dict[str, str]) -> str:
    """The device's name as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", machine["device"].lower()).strip("-")


def measure_peak(bench: Bench) -> float:
    """What the machine can do at most: FLOP/s of a large matrix product, in float32 or what a GPU makes of it.

    On a CPU also how many times the rate of one thread that is: threads that share a core share its multipliers.
    """
    size, kind = (8192, "TF32") if bench.device.type == "cuda" else (2048, "float32")
    a = torch.randn(size, size, device=bench.device)

    def rate() -> float:
        return 2 * size**3 / min(bench.seconds(lambda: a @ a) for _ in range(5))

    flops = rate()
    bench.add(f"large matrix product, {kind}", f"{flops / 1e9:,.0f} GFLOP/s", flops_per_second=flops)
    threads = torch.get_num_threads()
    if bench.device.type == "cpu" and threads > 1:
        torch.set_num_threads(1)
        gain = flops / rate()
        torch.set_num_threads(threads)
        bench.add(f"  of {threads} threads against one", f"{gain:.1f}x", gain=gain)
    return flops


def part(split: Split, count: int) -> Split:
    """The first samples of a split."""
    first = {name: getattr(split, name)[:count] for name in ("rgb", "range", "label", "scene", "sensor")}
    return replace(split, **first)


def samples(split: Split, data: packed.Packed, device: torch.device) -> theirs.Samples:
    """The same samples as the reference study serves them, one by one from the host's memory."""
    return theirs.Samples(
        split.rgb.cpu(), split.range.cpu(), data.azimuth[0], data.zenith[0], split.label.cpu(), str(device)
    )


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


def measure_classifier(bench: Bench, name: str, downsampling: str, aim: str, peak: float) -> None:
    """An epoch of training and validation of one fusion variant."""
    data = packed.load(PACKED)
    train, valid = (part(load_split(data, split, bench.device), count) for split, count in SAMPLES.items())
    loaders = theirs.loaders(samples(train, data, bench.device), samples(valid, data, bench.device))
    once = TrainingParams(epochs=1, batch_size=theirs.BATCH, lr=1e-3, lr_min=1e-6)

    def build() -> nn.Module:
        return fusion.build(name, downsampling, 50.0)

    seconds = bench.ratio(
        f"training epoch, {name}, {downsampling}",
        lambda: train_classifier(build, train, valid, once, 51, "bench"),
        lambda: theirs.train_epochs(theirs.fusion_network(name, downsampling).to(bench.device), *loaders, epochs=1),
        aim,
    )
    plain = flops_of(theirs.fusion_network(name, downsampling), train)
    done = plain if bench.device.type == "cuda" else flops_of(build(), train)  # kernels of our own are not counted
    rate = (done * SAMPLES["train"] * 3 + done * SAMPLES["val"]) / seconds
    bench.add(
        f"  of the machine's limit, {name}, {downsampling}",
        f"{rate / peak:.0%}, with {done / plain:.0%} of the plain network's operations",
        share=rate / peak,
        operations=done / plain,
    )


def flops_of(model: nn.Module, split: Split) -> float:
    """Floating-point operations of a forward pass, a sample; a backward pass takes about twice as many."""
    batch = slice(0, theirs.BATCH)
    model = model.to(split.label.device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*split.inputs(batch))
    return counter.get_total_flops() / theirs.BATCH


def measure_frozen(bench: Bench) -> None:
    """Projector (40 epochs) and RGB-to-LiDAR classifier (50) between frozen models, on the whole data.

    Of the reference loop a tenth of the epochs, on some of the samples: it embeds each of them in every epoch, so that
    all its batches cost the same.
    """
    data = packed.load(PACKED)
    train, valid = (load_split(data, name, bench.device) for name in ("train", "val"))
    some = part(train, 320)
    arguments = params.load()["embedder"]
    torch.manual_seed(51)
    image = embedder.build("rgb", **arguments).to(bench.device, memory_format=torch.channels_last)
    classifier = lidar.build(**arguments).to(bench.device, memory_format=torch.channels_last)
    first = ProjectorParams(epochs=40, batch_size=32, lr=1e-4, lr_min=1e-6, weight_decay=5e-4)
    second = TrainingParams(epochs=50, batch_size=32, lr=1e-4, lr_min=1e-6)

    def ours() -> None:
        images = [embed_split(image, split) for split in (train, valid)]
        points = [embed_split(classifier.embedder, split).embedding for split in (train, valid)]
        pairs = [(seen.embedding, target) for seen, target in zip(images, points, strict=True)]
        done = train_projector(*pairs, first, 51, "bench")
        train_classifier(lambda: projected_head(done.model, classifier.head), *images, second, 51, "bench")

    frozen = [theirs.Embedder().to(bench.device).requires_grad_(False) for _ in range(2)]
    projector = nn.Sequential(nn.Linear(200, 100), nn.ReLU(), nn.Linear(100, 200)).to(bench.device)
    head = nn.Sequential(nn.Linear(200, 100), nn.ReLU(), nn.Linear(100, 1)).to(bench.device).requires_grad_(False)
    served = samples(some, data, bench.device)
    loader, _ = theirs.loaders(served, served)
    bench.ratio(
        "frozen stages, embeddings computed once",
        ours,
        lambda: theirs.train_frozen(*frozen, projector, head, loader, (first.epochs // 10, second.epochs // 10)),
        ">= 80x",
        share=0.1 * len(some) / len(train),
    )


def measure_contrastive(bench: Bench) -> None:
    """Loss and gradients of a large batch, and what autograd keeps for them."""
    rgb, points = (
        torch.nn.functional.normalize(torch.randn(CONTRASTIVE_BATCH, 200, device=bench.device), dim=1).requires_grad_()
        for _ in range(2)
    )
    log_scale = torch.zeros((), device=bench.device)

    def ours() -> Tensor:
        loss = contrastive_loss(rgb, points, log_scale)
        loss.backward()
        return loss.detach()

    def other() -> Tensor:
        loss = theirs.contrastive_loss(rgb, points)
        loss.backward()
        return loss.detach()

    torch.testing.assert_close(ours(), other(), rtol=1e-4, atol=1e-5)
    what = f"contrastive loss, forward and backward, batch {CONTRASTIVE_BATCH}"
    bench.ratio(what, ours, other, ">= 300x", repeats=9)  # of milliseconds, hence more of them
    kept = [kept_bytes(run) for run in (ours, other)]
    square = 4 * CONTRASTIVE_BATCH**2
    bench.add(
        "  memory kept for the backward pass",
        f"{kept[0] / 1e6:,.1f} MB, {kept[0] / square:.1f} B x B floats; reference {kept[1] / 1e6:,.0f} MB",
        "O(B^2) floats",
        our_bytes=kept[0],
        their_bytes=kept[1],
    )


def kept_bytes(run: Callable[[], object]) -> int:
    """Bytes of the distinct tensors that autograd keeps during a call."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(kept.values())


def measure_whole_runs(bench: Bench, data: packed.Packed, settings: dict) -> None:
    """Whole training runs on a GPU, after one to warm up."""
    titles = {"fusion": "one fusion run (concatenation, max-pooling)", "cilp": "one CILP run"}
    if bench.device.type != "cuda":
        for title, aim in zip(titles.values(), ("<= 1 s, >= 10x", "<= 3 s"), strict=True):
            bench.add(f"{title}, GPU", "not measured: no GPU here", aim)
        return
    train, valid = (load_split(data, name, bench.device) for name in ("train", "val"))
    protocol = TrainingParams(epochs=20, batch_size=32, lr=1e-3, lr_min=1e-6)
    reference = theirs.fusion_network("concat", "maxpool").to(bench.device)
    loaders = theirs.loaders(samples(train, data, bench.device), samples(valid, data, bench.device))
    seconds = bench.ratio(
        f"{titles['fusion']}, GPU",
        lambda: train_classifier(lambda: fusion.build("concat", "maxpool", 50.0), train, valid, protocol, 51, "bench"),
        lambda: theirs.train_epochs(reference, *loaders, epochs=20),
        ">= 10x",
        repeats=2,
    )
    bench.add("  seconds", f"{seconds:.2f} s", "<= 1 s", seconds=seconds)
    cilp, seen = params.section(settings, "cilp", CilpParams), params.section(settings, "embedder", EmbedderParams)
    pairs = load_training_pairs(data, None, cilp.mirror, bench.device)
    runs = [bench.seconds(lambda: pretrain(pairs, pairs.first(400), cilp, seen, 51, "bench")) for _ in range(2)]
    bench.add(f"{titles['cilp']}, GPU", f"{runs[-1]:.2f} s", "<= 3 s", seconds=runs[-1])


def add_whole_study(bench: Bench, machine: dict[str, str], settings: dict) -> None:
    """What training took in the study whose results lie here: one seed of each run, the mean over the seeds.

    The aim is for what the reference study trained: its fusions, the LiDAR classifier, and CILP with all behind it.
    """
    costs = {path: json.loads(path.read_text()) for path in Path("costs").glob("**/*.json")}
    variants = {f"{name}-{downsampling}" for name in theirs.FUSIONS for downsampling in DOWNSAMPLINGS}
    common = {path for path in costs if path.parent.name != "fusion" or path.stem in variants}
    for what, paths, aim in (
        ("training, one seed of all that the reference study trained", common, "<= 35 min on 2 cores"),
        ("training, one seed of that, the baselines and modality dropout", set(costs), ""),
    ):
        if not costs or any(costs[path]["device"] != machine["device"] for path in paths):
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
    """``dvc repro`` where everything is up to date."""
    what, aim = "`dvc repro` that has nothing to do", "<= 3 s"
    command = [sys.executable, "-m", "dvc", "repro"]
    dry = subprocess.run([*command, "--dry"], capture_output=True, text=True, check=False)
    if dry.returncode:
        bench.add(what, "not measured: `dvc repro --dry` fails", aim)
        return
    if "Running stage" in dry.stdout:
        bench.add(what, "not measured: there is something to do", aim)
        return
    runs = [bench.seconds(lambda: subprocess.run(command, capture_output=True, check=True)) for _ in range(REPEATS)]
    bench.add(what, f"{statistics.median(runs):.1f} s", aim, seconds=statistics.median(runs))


START = """
import os, sys, time
start = time.perf_counter()
import runpy
import torch

def stop(*_):
    print("SECONDS", time.perf_counter() - start, flush=True)
    os._exit(0)

from torch.optim.optimizer import register_optimizer_step_post_hook
register_optimizer_step_post_hook(stop)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


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
            bench.add(what, f"not measured: `dvc repro {stage}` first", aim)


if __name__ == "__main__":
    cli.run(main)
