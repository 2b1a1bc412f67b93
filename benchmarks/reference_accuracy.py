"""How accurate the reference study's loop becomes on the same data, protocol and seeds: is fast also as good?

    PYTHONPATH=src python benchmarks/reference_accuracy.py

Trains every fusion variant on every seed in ``reference_loop``, the slow way, with XYZ in the unit that ``params.yaml``
names, and evaluates the weights with the lowest validation loss on the held-out test set. Writes
``benchmarks/results/reference-accuracy.json`` after each run, and goes on from there when it is started again; delete
it to begin anew. About an hour on two cores; with ``--variants late-strided ...``, those alone.
"""

import argparse
import json
import time
from pathlib import Path

import reference_loop as theirs
import torch
from torch import Tensor, nn

from cilp import packed, params
from cilp.atomic import write_json
from cilp.console import cli
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import load_split

RESULTS = Path("benchmarks/results/reference-accuracy.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", help="for example late-strided (default: all)")
    chosen = parser.parse_args().variants
    settings, device = params.load(), prepare_device("auto")
    data = packed.load(Path("data/packed.pt"))
    runs = json.loads(RESULTS.read_text())["test_accuracy"] if RESULTS.is_file() else {}
    for downsampling in ("strided", "maxpool"):
        for fusion in theirs.FUSIONS:
            name = f"{fusion}-{downsampling}"
            if chosen and name not in chosen:
                continue
            protocol = settings["fusion"][fusion]
            train, valid, test = (samples(data, split, protocol["xyz_scale"], device) for split in packed.SPLITS)
            done = runs.setdefault(name, {})
            for seed in map(str, settings["seeds"]):
                if seed in done:
                    continue
                start = time.perf_counter()
                torch.manual_seed(int(seed))
                model = theirs.fusion_network(fusion, downsampling).to(device)
                theirs.train_epochs(model, *theirs.loaders(train, valid), protocol["epochs"], protocol["lr"])
                done[seed] = accuracy(model, test)
                seconds = time.perf_counter() - start
                print(
                    f"{fusion}-{downsampling} seed {seed}: test accuracy {done[seed]:.4f} ({seconds:.0f} s)", flush=True
                )
                write_json(RESULTS, {**describe(device), "test_accuracy": runs})


def samples(data: packed.Packed, split: str, unit: float, device: torch.device) -> theirs.Samples:
    """A split as the reference study serves it."""
    part = load_split(data, split, torch.device("cpu"))
    return theirs.Samples(part.rgb, part.range, data.azimuth[0], data.zenith[0], part.label, str(device), unit)


@torch.no_grad()
def accuracy(model: nn.Module, test: theirs.Samples) -> float:
    """Share of all samples that are classified correctly."""
    right = 0
    for index in range(0, len(test), theirs.BATCH):
        parts = zip(*(test[i] for i in range(index, min(index + theirs.BATCH, len(test)))), strict=True)
        rgb, lidar, label = (torch.stack(part) for part in parts)
        right += int(_right(model(rgb, lidar), label).sum())
    return right / len(test)


def _right(logits: Tensor, label: Tensor) -> Tensor:
    return (logits > 0) == (label > 0.5)


if __name__ == "__main__":
    cli.run(main)
