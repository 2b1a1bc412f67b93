"""Train the RGB-to-LiDAR classifier on every seed and evaluate it once on the held-out test set.

    PYTHONPATH=src python stages/train_rgb2lidar.py

CILP's image embedder and the LiDAR classifier's head are frozen; the projector between them goes on training, now on
the labels and on what `embed` had the embedder make of the data.
"""

import argparse
import copy
import functools
from dataclasses import asdict
from pathlib import Path

from cilp import packed, params, tracking
from cilp.console import cli
from cilp.contrastive.projection import projected_head
from cilp.embeddings import load_embeddings
from cilp.models.cilp import Cilp
from cilp.models.lidar import LidarClassifier
from cilp.models.projector import Projector
from cilp.models.rgb2lidar import RgbToLidar
from cilp.training.checkpoint import load_frozen, save_checkpoint
from cilp.training.classifier import TrainingParams, held_out, logits_of, score, train_classifier
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import load_split
from cilp.training.loop import Run
from cilp.training.results import Results
from cilp.training.seeds import check_seeds


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

    results = Results("rgb2lidar")
    for seed in seeds:
        cilp = load_frozen(Path(f"models/cilp/seed-{seed}.pt"), Cilp, device)
        lidar = load_frozen(Path(f"models/lidar/seed-{seed}.pt"), LidarClassifier, device)
        projector = load_frozen(Path(f"models/projector/seed-{seed}.pt"), Projector, device)
        images = load_embeddings(Path(f"data/embeddings/cilp/seed-{seed}.pt"), device)["rgb"]
        train, valid, test = (images[split] for split in packed.SPLITS)
        config = {**asdict(protocol), "optimizer": "Adam", "scheduler": "cosine", "seed": seed}
        with tracking.start_run(settings, group="rgb2lidar", name=f"rgb2lidar-{seed}", config=config) as tracked:
            run = Run(seed, f"RGB-to-LiDAR seed {seed}", tracked.log_epoch)
            build = functools.partial(projected_head, projector, lidar.head)
            done = train_classifier(build, train, valid, protocol, run, "rgb2lidar")
            figures, test_logits = held_out(done, test)
            _, figures["test_accuracy_before_training"] = score(logits_of(build().eval(), test), test.label)
            results.add(seed, done, figures)
            whole = RgbToLidar(copy.deepcopy(cilp.rgb), done.model)
            save_checkpoint(
                Path(f"models/rgb2lidar/seed-{seed}.pt"), whole, "rgb2lidar", cilp.rgb.params.arguments(),
                asdict(protocol), seed,
            )  # fmt: skip
            tracked.finish_classifier(done, figures, shown, test_logits)

    parameters = sum(parameter.numel() for parameter in whole.parameters())
    samples = {split: len(seen) for split, seen in images.items()}
    results.write(machine, samples, parameters=parameters)


if __name__ == "__main__":
    cli.run(main)
