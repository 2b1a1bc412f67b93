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
from cilp.models.layers.blocks import count_parameters
from cilp.training.checkpoint import save_checkpoint
from cilp.training.device import describe, prepare_device
from cilp.training.loop import Run
from cilp.training.results import Results
from cilp.training.seeds import check_seeds

EMBEDDINGS = Path("data/embeddings")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    protocol = params.section(settings, "projector", ProjectorParams)
    seeds = check_seeds(params.lookup(settings, "seeds"))
    device = prepare_device(params.lookup(settings, "device"))
    machine = describe(device)
    print(f"projector: {len(seeds)} seeds on {machine['device']}")

    results = Results("projector")
    for seed in seeds:
        cilp, lidar = (load_embeddings(EMBEDDINGS / name / f"seed-{seed}.pt", device) for name in ("cilp", "lidar"))
        train, valid, test = (pairs(cilp, lidar, split) for split in packed.SPLITS)
        config = {**asdict(protocol), "optimizer": "AdamW", "scheduler": "cosine", "seed": seed}
        with tracking.start_run(settings, group="projector", name=f"projector-{seed}", config=config) as tracked:
            run = Run(seed, f"projector seed {seed}", tracked.log_epoch)
            done = train_projector(train, valid, protocol, run, "projector")
            test_loss, test_cosine = score_projector(done.model, *test)
            figures = {
                "valid_loss": done.best.valid_loss,
                "valid_cosine": done.best.valid_cosine,
                "test_loss": test_loss,
                "test_cosine": test_cosine,
            }
            results.add(seed, done, figures)
            save_checkpoint(
                Path(f"models/projector/seed-{seed}.pt"), done.model, "projector", {}, asdict(protocol), seed
            )
            tracked.finish_projector(done, figures)

    samples = {split: len(seen) for split, seen in cilp["rgb"].items()}
    results.write(machine, samples, parameters=count_parameters(done.model))


def pairs(cilp: Embeddings, lidar: Embeddings, split: str) -> tuple[Tensor, Tensor]:
    """What CILP made of the images of a split and the LiDAR classifier of its range images, (N, 200) each."""
    return cilp["rgb"][split].embedding, lidar["lidar"][split].embedding


if __name__ == "__main__":
    cli.run(main)
