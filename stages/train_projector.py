"""Train the projector from CILP's image embeddings to the LiDAR classifier's embeddings, on every seed.

    PYTHONPATH=src python stages/train_projector.py

Both embedders are frozen: the projector trains on what `embed` had them make of the data.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from cilp import packed, params, tracking
from cilp.console import cli
from cilp.contrastive.projection import ProjectorParams, score_projector, train_projector
from cilp.embeddings import Embeddings, load_embeddings
from cilp.models.blocks import count_parameters
from cilp.training.checkpoint import save_checkpoint
from cilp.training.device import describe, prepare_device
from cilp.training.seeds import check_seeds, write_cost, write_metrics, write_rows

EMBEDDINGS = Path("data/embeddings")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    protocol = params.section(settings, "projector", ProjectorParams)
    seeds = check_seeds(params.lookup(settings, "seeds"))
    device = prepare_device(params.lookup(settings, "device"))
    machine = describe(device)
    print(f"projector: {len(seeds)} seeds on {machine['device']}")

    metrics, costs, curves = {}, {}, []
    for seed in seeds:
        cilp, lidar = (load_embeddings(EMBEDDINGS / name / f"seed-{seed}.pt", device) for name in ("cilp", "lidar"))
        train, valid, test = (pairs(cilp, lidar, split) for split in packed.SPLITS)
        config = {**asdict(protocol), "optimizer": "AdamW", "scheduler": "cosine", "seed": seed}
        with tracking.start_run(settings, group="projector", name=f"projector-{seed}", config=config) as run:
            done = train_projector(train, valid, protocol, seed, f"projector seed {seed}", run.log_epoch, "projector")
            test_loss, test_cosine = score_projector(done.model, *test)
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
    samples = {split: len(seen) for split, seen in cilp["rgb"].items()}
    write_cost(Path("costs/projector.json"), costs, **machine, seeds=seeds, samples=samples)


def pairs(cilp: Embeddings, lidar: Embeddings, split: str) -> tuple[Tensor, Tensor]:
    """What CILP made of the images of a split and the LiDAR classifier of its range images, (N, 200) each."""
    return cilp["rgb"][split].embedding, lidar["lidar"][split].embedding


if __name__ == "__main__":
    cli.run(main)
