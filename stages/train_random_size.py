"""Train one fusion variant, with one seed, on scenes in which size tells nothing about shape.

    PYTHONPATH=src python stages/train_random_size.py --fusion late --downsampling maxpool --seed 51

Reads ``data/random_size.pt`` and the params ``fusion.<fusion>``, ``random_size.inputs``, ``random_size.lr_factor``,
``embedder`` and ``device``; the protocol is that of the study but for the learning rate. With ``--auxiliary-losses``
each sensor has a loss of its own as well, and what is written is called ``<fusion>-<downsampling>-auxiliary``.
"""

from dataclasses import asdict
from pathlib import Path

from cilp import packed, params, tracking
from cilp.classifiers.fusion import FusionProtocol, network, train_fusion
from cilp.classifiers.random_size import sizes
from cilp.classifiers.variant import asked_for
from cilp.console import cli
from cilp.models import fusion, normalised_fusion
from cilp.training.checkpoint import save_checkpoint
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import load_split
from cilp.training.loop import Run
from cilp.training.unfinished import UnfinishedRuns

PACKED = Path("data/random_size.pt")


def main() -> None:
    variant = asked_for(__doc__)
    name, seed = variant.name, variant.seed
    settings = params.load()
    how = sizes(settings)
    if variant.auxiliary_losses:
        settings["fusion"][variant.fusion]["auxiliary_losses"] = True
    protocol = how.slowed(params.section(settings, f"fusion.{variant.fusion}", FusionProtocol))
    if how.inputs == "normalised":
        model, build, arguments = "normalised_fusion", normalised_fusion.build, variant.normalised(settings)
    else:
        model, build, arguments = "fusion", fusion.build, network(variant.fusion, variant.downsampling, protocol)
    device = prepare_device(params.lookup(settings, "device"))
    print(f"{name}, random size: seed {seed} on {describe(device)['device']}")

    data = packed.load(PACKED)
    train, valid = (load_split(data, split, device) for split in ("train", "val"))
    runs = UnfinishedRuns(Path(f"unfinished/train_random_size@{name}-{seed}"), device, [PACKED], arguments, protocol)
    config = {**arguments, **asdict(protocol), "optimizer": "Adam", "scheduler": "cosine", "seed": seed}
    with tracking.start_run(settings, group="random_size", name=f"{name}-random-size-{seed}", config=config) as tracked:
        run = Run(seed, f"{name}, random size, seed {seed}", tracked.log_epoch, runs.of(seed))
        done = train_fusion(arguments, train, valid, protocol, run, build)
    path = Path(f"models/random_size/fusion/{name}/seed-{seed}.pt")
    save_checkpoint(path, done.model, model, arguments, asdict(protocol), seed)
    runs.clear()


if __name__ == "__main__":
    cli.run(main)
