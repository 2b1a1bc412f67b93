"""Train one fusion variant on every seed and evaluate each best checkpoint once on the held-out test set.

    PYTHONPATH=src python stages/train_fusion.py --fusion hadamard --downsampling maxpool

Reads ``data/packed.pt`` and the params ``fusion.<fusion>``, ``seeds`` and ``device``. With ``--modality-dropout`` it is
trained at that rate instead of its own, and what it writes is called ``<fusion>-<downsampling>-dropout``.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from cilp import packed, params, tracking
from cilp.classifiers.fusion import FusionProtocol, network, train_fusion
from cilp.console import cli
from cilp.models import fusion
from cilp.models.complexity import multiply_adds
from cilp.models.layers.blocks import DOWNSAMPLINGS, count_parameters
from cilp.training.checkpoint import save_checkpoint
from cilp.training.classifier import held_out
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import load_split
from cilp.training.loop import Run
from cilp.training.results import Results
from cilp.training.seeds import check_seeds
from cilp.training.unfinished import UnfinishedRuns

PACKED = Path("data/packed.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fusion", choices=fusion.FUSIONS, required=True)
    parser.add_argument("--downsampling", choices=DOWNSAMPLINGS, required=True)
    parser.add_argument("--modality-dropout", type=float, help="rate that overrules fusion.<fusion>.modality_dropout")
    variant = parser.parse_args()
    name = f"{variant.fusion}-{variant.downsampling}"

    settings = params.load()
    if variant.modality_dropout is not None:
        settings["fusion"][variant.fusion]["modality_dropout"] = variant.modality_dropout
        name += "-dropout"
    protocol = params.section(settings, f"fusion.{variant.fusion}", FusionProtocol)
    arguments = network(variant.fusion, variant.downsampling, protocol)
    seeds = check_seeds(params.lookup(settings, "seeds"))
    device = prepare_device(params.lookup(settings, "device"))
    machine = describe(device)
    print(f"{name}: {len(seeds)} seeds on {machine['device']}")

    data = packed.load(PACKED)
    train, valid, test = (load_split(data, split, device) for split in packed.SPLITS)
    runs = UnfinishedRuns(Path(f"unfinished/train_fusion@{name}"), device, [PACKED], arguments, protocol)

    results = Results(f"fusion/{name}")
    for seed in seeds:
        config = {**arguments, **asdict(protocol), "optimizer": "Adam", "scheduler": "cosine", "seed": seed}
        with tracking.start_run(settings, group="fusion", name=f"{name}-{seed}", config=config) as tracked:
            run = Run(seed, f"{name} seed {seed}", tracked.log_epoch, runs.of(seed))
            done = train_fusion(arguments, train, valid, protocol, run)
            figures, test_logits = held_out(done, test)
            results.add(seed, done, figures)
            save_checkpoint(
                Path(f"models/fusion/{name}/seed-{seed}.pt"), done.model, "fusion", arguments, asdict(protocol), seed
            )
            tracked.finish_classifier(done, figures, test, test_logits)

    size = {
        "parameters": count_parameters(done.model),
        "multiply_adds": multiply_adds(fusion.build(**arguments), views=2),
    }
    samples = dict(zip(packed.SPLITS, map(len, (train, valid, test)), strict=True))
    results.write(machine, samples, **size)
    runs.clear()


if __name__ == "__main__":
    cli.run(main)
