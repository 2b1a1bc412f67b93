"""Train one fusion variant, with one seed, on scenes in which size tells nothing about shape.

    PYTHONPATH=src python stages/train_random_size.py --fusion late --downsampling maxpool --seed 51

Reads ``data/random_size.pt`` and the params ``fusion.<fusion>``, ``random_size.inputs``, ``random_size.lr_factor``,
``embedder`` and ``device``; the protocol is that of the study but for the learning rate. With ``--auxiliary-losses``
each sensor has a loss of its own as well, and what is written is called ``<fusion>-<downsampling>-auxiliary``.
"""

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from cilp import packed, params, tracking
from cilp.classifiers.fusion import FusionProtocol, network, train_fusion
from cilp.classifiers.random_size import sizes
from cilp.console import cli
from cilp.models import fusion, normalised_fusion
from cilp.models.blocks import DOWNSAMPLINGS
from cilp.training.checkpoint import save_checkpoint
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import load_split
from cilp.training.unfinished import UnfinishedRuns

PACKED = Path("data/random_size.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fusion", choices=fusion.FUSIONS, required=True)
    parser.add_argument("--downsampling", choices=DOWNSAMPLINGS, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--auxiliary-losses", action="store_true", help="whatever fusion.<fusion>.auxiliary_losses is")
    variant = parser.parse_args()
    name, seed = f"{variant.fusion}-{variant.downsampling}", variant.seed
    settings = params.load()
    how = sizes(settings)
    protocol = how.slowed(params.section(settings, f"fusion.{variant.fusion}", FusionProtocol))
    if variant.auxiliary_losses:
        if not issubclass(fusion.kind(variant.fusion), fusion.TwoEncoders):
            parser.error(f"--auxiliary-losses: {variant.fusion} has no encoder for each sensor")
        protocol, name = replace(protocol, auxiliary_losses=True), f"{name}-auxiliary"
    if how.inputs == "normalised":
        model, build = "normalised_fusion", normalised_fusion.build
        normalisation = {key: params.lookup(settings, f"embedder.{key}") for key in ("xyz_centre", "xyz_scale")}
        arguments = {"fusion": variant.fusion, "downsampling": variant.downsampling, **normalisation}
    else:
        model, build, arguments = "fusion", fusion.build, network(variant.fusion, variant.downsampling, protocol)
    device = prepare_device(params.lookup(settings, "device"))
    print(f"{name}, random size: seed {seed} on {describe(device)['device']}")

    data = packed.load(PACKED)
    train, valid = (load_split(data, split, device) for split in ("train", "val"))
    runs = UnfinishedRuns(Path(f"unfinished/train_random_size@{name}-{seed}"), device, [PACKED], arguments, protocol)
    config = {**arguments, **asdict(protocol), "optimizer": "Adam", "scheduler": "cosine", "seed": seed}
    with tracking.start_run(settings, group="random_size", name=f"{name}-random-size-{seed}", config=config) as run:
        label = f"{name}, random size, seed {seed}"
        done = train_fusion(arguments, train, valid, protocol, seed, label, run.log_epoch, runs.of(seed), build)
    path = Path(f"models/random_size/fusion/{name}/seed-{seed}.pt")
    save_checkpoint(path, done.model, model, arguments, asdict(protocol), seed)
    runs.clear()


if __name__ == "__main__":
    cli.run(main)
