"""Train the RGB-to-LiDAR classifier on every seed and evaluate it once on the held-out test set.

    PYTHONPATH=src python stages/train_rgb2lidar.py

CILP's image embedder and the LiDAR classifier's head are frozen; the projector between them goes on training, now on
the labels and on what `embed` had the embedder make of the data.
"""

import argparse
import copy
from dataclasses import asdict
from pathlib import Path

from cilp import packed, params, tracking
from cilp.console import cli
from cilp.contrastive.frozen import load_frozen
from cilp.contrastive.projection import projected_head
from cilp.embeddings import load_embeddings
from cilp.models.cilp import Cilp
from cilp.models.lidar import LidarClassifier
from cilp.models.projector import Projector
from cilp.models.rgb2lidar import RgbToLidar
from cilp.training.checkpoint import save_checkpoint
from cilp.training.classifier import TrainingParams, logits_of, score, train_classifier
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import load_split
from cilp.training.seeds import check_seeds, write_cost, write_metrics, write_rows


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    protocol = params.section(settings, "rgb2lidar", TrainingParams)
    seeds = check_seeds(params.lookup(settings, "seeds"))
    device = prepare_device(params.lookup(settings, "device"))
    machine = describe(device)
    print(f"RGB-to-LiDAR classifier: {len(seeds)} seeds on {machine['device']}")
    data = packed.load(Path("data/packed.pt"))
    shown = load_split(data, "test", device)

    metrics, costs, curves = {}, {}, []
    for seed in seeds:
        cilp = load_frozen(Path(f"models/cilp/seed-{seed}.pt"), Cilp, device)
        lidar = load_frozen(Path(f"models/lidar/seed-{seed}.pt"), LidarClassifier, device)
        projector = load_frozen(Path(f"models/projector/seed-{seed}.pt"), Projector, device)
        images = load_embeddings(Path(f"data/embeddings/cilp/seed-{seed}.pt"), device)["rgb"]
        train, valid, test = (images[split] for split in packed.SPLITS)
        config = {**asdict(protocol), "optimizer": "Adam", "scheduler": "cosine", "seed": seed}
        with tracking.start_run(settings, group="rgb2lidar", name=f"rgb2lidar-{seed}", config=config) as run:
            done = train_classifier(
                lambda given=(projector, lidar.head): projected_head(*given), train, valid, protocol, seed,
                f"RGB-to-LiDAR seed {seed}", run.log_epoch, section="rgb2lidar",
            )  # fmt: skip
            _, projector_alone = score(logits_of(projected_head(projector, lidar.head).eval(), test), test.label)
            test_logits = logits_of(done.model, test)
            test_loss, test_accuracy = score(test_logits, test.label)
            metrics[seed] = {
                "valid_loss": done.best.valid_loss,
                "valid_accuracy": done.best.valid_accuracy,
                "test_loss": test_loss,
                "test_accuracy": test_accuracy,
                "test_accuracy_before_training": projector_alone,
            }
            costs[seed] = done.cost
            curves += [{"seed": seed, **asdict(epoch)} for epoch in done.history]
            whole = RgbToLidar(copy.deepcopy(cilp.rgb), done.model)
            save_checkpoint(
                Path(f"models/rgb2lidar/seed-{seed}.pt"), whole, "rgb2lidar", cilp.rgb.params.arguments(),
                asdict(protocol), seed,
            )  # fmt: skip
            run.finish_classifier(done, metrics[seed], shown, test_logits)

    parameters = sum(parameter.numel() for parameter in whole.parameters())
    write_metrics(Path("metrics/rgb2lidar.json"), metrics, parameters=parameters)
    write_rows(Path("metrics/rgb2lidar.csv"), [{"seed": seed, **figures} for seed, figures in metrics.items()])
    write_rows(Path("plots/rgb2lidar.csv"), curves)
    samples = {split: len(seen) for split, seen in images.items()}
    write_cost(Path("costs/rgb2lidar.json"), costs, **machine, seeds=seeds, samples=samples)


if __name__ == "__main__":
    cli.run(main)
