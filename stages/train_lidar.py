"""Train the LiDAR classifier on every seed and evaluate each best checkpoint once on the held-out test set.

    PYTHONPATH=src python stages/train_lidar.py

Reads ``data/packed.pt`` and the params ``lidar``, ``embedder``, ``seeds`` and ``device``.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from cilp import packed, params, tracking
from cilp.console import cli
from cilp.models import lidar
from cilp.models.embedder import EmbedderParams
from cilp.models.layers.blocks import count_parameters
from cilp.training.checkpoint import save_checkpoint
from cilp.training.classifier import TrainingParams, held_out, train_classifier
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import LidarSplit, load_split
from cilp.training.loop import Run
from cilp.training.results import Results
from cilp.training.seeds import check_seeds
from cilp.training.unfinished import UnfinishedRuns

PACKED = Path("data/packed.pt")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    protocol = params.section(settings, "lidar", TrainingParams)
    embedder = params.section(settings, "embedder", EmbedderParams)
    seeds = check_seeds(params.lookup(settings, "seeds"))
    device = prepare_device(params.lookup(settings, "device"))
    machine = describe(device)
    print(f"LiDAR classifier: {len(seeds)} seeds on {machine['device']}")

    data = packed.load(PACKED)
    whole = [load_split(data, split, device) for split in packed.SPLITS]
    train, valid, test = map(LidarSplit.of, whole)
    runs = UnfinishedRuns(Path("unfinished/train_lidar"), device, [PACKED], protocol, embedder)

    results = Results("lidar")
    for seed in seeds:
        config = {**asdict(protocol), **embedder.arguments(), "optimizer": "Adam", "scheduler": "cosine", "seed": seed}
        with tracking.start_run(settings, group="lidar", name=f"lidar-{seed}", config=config) as tracked:
            run = Run(seed, f"lidar seed {seed}", tracked.log_epoch, runs.of(seed))
            done = train_classifier(lambda: lidar.build(**embedder.arguments()), train, valid, protocol, run, "lidar")
            figures, test_logits = held_out(done, test)
            results.add(seed, done, figures)
            save_checkpoint(
                Path(f"models/lidar/seed-{seed}.pt"), done.model, "lidar", embedder.arguments(), asdict(protocol), seed
            )
            tracked.finish_classifier(done, figures, whole[2], test_logits)

    samples = dict(zip(packed.SPLITS, map(len, whole), strict=True))
    results.write(machine, samples, parameters=count_parameters(done.model))
    runs.clear()


if __name__ == "__main__":
    cli.run(main)
