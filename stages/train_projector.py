"""Train the projector from CILP's image embeddings to the LiDAR classifier's embeddings, on every seed.

    PYTHONPATH=src python stages/train_projector.py

Both embedders are frozen: each runs once over the data, and the projector trains on what they gave.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from cilp import packed, params, tracking
from cilp.console import cli
from cilp.contrastive.frozen import embed_split, load_frozen
from cilp.contrastive.projection import ProjectorParams, score_projector, train_projector
from cilp.models.blocks import count_parameters
from cilp.models.cilp import Cilp
from cilp.models.lidar import LidarClassifier
from cilp.training.checkpoint import save_checkpoint
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import Split, load_split
from cilp.training.seeds import check_seeds, write_cost, write_metrics, write_rows


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    protocol = params.section(settings, "projector", ProjectorParams)
    seeds = check_seeds(params.lookup(settings, "seeds"))
    device = prepare_device(params.lookup(settings, "device"))
    machine = describe(device)
    print(f"projector: {len(seeds)} seeds on {machine['device']}")
    data = packed.load(Path("data/packed.pt"))
    splits = [load_split(data, split, device) for split in packed.SPLITS]

    metrics, costs, curves = {}, {}, []
    for seed in seeds:
        cilp = load_frozen(Path(f"models/cilp/seed-{seed}.pt"), Cilp, device)
        lidar = load_frozen(Path(f"models/lidar/seed-{seed}.pt"), LidarClassifier, device)
        train, valid = (embed(cilp, lidar, split) for split in splits[:2])
        config = {**asdict(protocol), "optimizer": "AdamW", "scheduler": "cosine", "seed": seed}
        with tracking.start_run(settings, group="projector", name=f"projector-{seed}", config=config) as run:
            done = train_projector(train, valid, protocol, seed, f"projector seed {seed}", run.log_epoch, "projector")
            test_loss, test_cosine = score_projector(done.model, *embed(cilp, lidar, splits[2]))
            metrics[seed] = {
                "valid_loss": done.best.valid_loss,
                "valid_cosine": done.best.valid_cosine,
                "test_loss": test_loss,
                "test_cosine": test_cosine,
            }
            costs[seed] = done.cost
            curves += [{"seed": seed, **asdict(epoch)} for epoch in done.history]
            save_checkpoint(
                Path(f"models/projector/seed-{seed}.pt"), done.model, "projector", {}, asdict(protocol), seed
            )
            run.finish_projector(done, metrics[seed])

    write_metrics(Path("metrics/projector.json"), metrics, parameters=count_parameters(done.model))
    write_rows(Path("metrics/projector.csv"), [{"seed": seed, **figures} for seed, figures in metrics.items()])
    write_rows(Path("plots/projector.csv"), curves)
    samples = dict(zip(packed.SPLITS, map(len, splits), strict=True))
    write_cost(Path("costs/projector.json"), costs, **machine, seeds=seeds, samples=samples)


def embed(cilp: Cilp, lidar: LidarClassifier, split: Split) -> tuple[Tensor, Tensor]:
    """What CILP makes of the images of a split and the LiDAR classifier of its ranges, (N, 200) each."""
    return embed_split(cilp.rgb, split).embedding, embed_split(lidar.embedder, split).embedding


if __name__ == "__main__":
    cli.run(main)
