"""How accurate the reference study's loop becomes on the same data, protocol and seeds: is fast also as good?

    PYTHONPATH=src python benchmarks/reference_accuracy.py

Trains every fusion variant on every seed in ``reference_loop``, the slow way, with XYZ in the unit that ``params.yaml``
names, and evaluates the weights with the lowest validation loss on the held-out test set. Writes
``benchmarks/results/reference-accuracy-<device>.json`` after each run, and goes on from there when it is started again;
delete it to begin anew. Two hours on two cores; with ``--variants late-strided ...``, those alone. Ours are the
study's, in ``metrics/``; with ``--seeds 54 55 ...``, which the study has not trained, both are trained here.

A network's luck is in its first weights and in the order of its samples. The order differs between the two, and of late
fusion the first weights do. With
``--same-start`` the reference loop has ours: what then differs is rounding.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import reference_loop as theirs
import torch
from bench_table import device_name
from more_seeds_networks import train_as_the_study
from torch import Tensor, nn

from cilp import packed, params
from cilp.atomic import write_json
from cilp.console import cli
from cilp.errors import UserError
from cilp.models.fusion import build
from cilp.training.classifier import logits_of, score
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import load_split
from cilp.training.loop import shuffled

VARIANTS = [f"{fusion}-{downsampling}" for downsampling in ("strided", "maxpool") for fusion in theirs.FUSIONS]
PROTOCOL = ("epochs", "batch_size", "lr", "lr_min", "xyz_scale")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS, metavar="VARIANT",
                        help="for example late-strided (default: all)")  # fmt: skip
    parser.add_argument("--seeds", nargs="+", type=int, default=[], help="further seeds (default: those of the study)")
    parser.add_argument("--same-start", action="store_true", help="begin with our weights, in our order of the samples")
    arguments = parser.parse_args()
    settings = params.load()
    device = prepare_device(params.lookup(settings, "device"))
    data, machine = packed.load(Path("data/packed.pt")), describe(device)
    results = Path(f"benchmarks/results/reference-accuracy-{device_name(machine)}.json")
    head = {**machine, **made_by(settings)}
    found = json.loads(results.read_text()) if results.is_file() else {**head, "test_accuracy": {}}
    if other := [key for key, value in head.items() if found[key] != value]:
        raise UserError(f"{results} was made with another {other[0]}; delete it to begin anew.")
    kind = "same_start_test_accuracy" if arguments.same_start else "test_accuracy"
    runs, ours = found.setdefault(kind, {}), found.setdefault("our_test_accuracy", {})
    for name in VARIANTS:
        if name in arguments.variants:
            fusion, _, downsampling = name.partition("-")
            protocol = settings["fusion"][fusion]
            if (protocol["batch_size"], protocol["lr_min"]) != (theirs.BATCH, theirs.LR_MIN):
                raise UserError(
                    f"fusion.{fusion} has another batch_size or lr_min than the reference loop; set them back."
                )
            train, valid, test = (samples(data, split, protocol["xyz_scale"], device) for split in packed.SPLITS)
            done = runs.setdefault(name, {})
            for seed in map(str, arguments.seeds or settings["seeds"]):
                if seed in done:
                    continue
                if int(seed) not in settings["seeds"] and seed not in ours.get(name, {}):
                    ours.setdefault(name, {})[seed] = our_accuracy(
                        fusion, downsampling, int(seed), settings, data, device
                    )
                    write_json(results, found)
                start = time.perf_counter()
                done[seed] = their_accuracy(
                    fusion, downsampling, int(seed), protocol, (train, valid, test), arguments.same_start
                )
                seconds = time.perf_counter() - start
                print(
                    f"{fusion}-{downsampling} seed {seed}: test accuracy {done[seed]:.4f} ({seconds:.0f} s)", flush=True
                )
                write_json(results, found)


def made_by(settings: dict[str, Any]) -> dict[str, Any]:
    """The params that decide what either loop reaches: the data, and of each fusion what the reference loop has too."""
    return {"data": settings["data"], "fusion": {name: {key: settings["fusion"][name][key] for key in PROTOCOL}
                                                 for name in theirs.FUSIONS}}  # fmt: skip


def their_accuracy(
    fusion: str,
    downsampling: str,
    seed: int,
    protocol: dict[str, Any],
    splits: tuple[theirs.Samples, theirs.Samples, theirs.Samples],
    same_start: bool,
) -> float:
    """Test accuracy of a variant, trained by the reference loop."""
    train, valid, test = splits
    torch.manual_seed(seed)
    model = theirs.fusion_network(fusion, downsampling).to(train.device)
    batches, validation = theirs.loaders(train, valid)
    if same_start:
        torch.manual_seed(seed)
        theirs.copy_weights(build(fusion, downsampling, protocol["xyz_scale"]), model)
        rows = (batch for (batch,) in shuffled(len(train), theirs.BATCH, seed, torch.device("cpu")))
        batches = theirs.InOrder(train, rows)
    theirs.train_epochs(model, batches, validation, protocol["epochs"], protocol["lr"])
    return accuracy(model, test)


def our_accuracy(
    fusion: str, downsampling: str, seed: int, settings: dict[str, Any], data: packed.Packed, device: torch.device
) -> float:
    """Test accuracy of a variant, trained as the study trains it."""
    splits = [load_split(data, split, device) for split in packed.SPLITS]
    model = train_as_the_study(f"fusion/{fusion}-{downsampling}", seed, settings, splits)
    return score(logits_of(model, splits[-1]), splits[-1].label)[1]


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
