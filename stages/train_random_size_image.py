"""Train both image classifiers that CILP is measured against, with one seed, on scenes in which size tells nothing.

    PYTHONPATH=src python stages/train_random_size_image.py --seed 51

On CILP's course: once on labels, once on what the LiDAR classifier says of the pairs that CILP is pretrained on.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from cilp import packed, params, tracking
from cilp.classifiers.course import OneCycleParams, course_of
from cilp.classifiers.images import answers, train_image
from cilp.classifiers.random_size import sizes
from cilp.console import cli
from cilp.contrastive.pairs import load_training_pairs
from cilp.models.embedder import EmbedderParams
from cilp.models.lidar import LidarClassifier
from cilp.training.checkpoint import load_frozen, save_checkpoint
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import load_split
from cilp.training.loop import Run
from cilp.training.unfinished import UnfinishedRuns

PACKED, UNLABELLED = Path("data/random_size.pt"), Path("data/random_size_unlabelled.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True)
    seed = parser.parse_args().seed
    settings = params.load()
    settings["cilp"]["steps"] = sizes(settings).cilp_steps
    course = course_of(settings)
    protocol = params.section(settings, "image_classifier", OneCycleParams)
    embedder = params.section(settings, "embedder", EmbedderParams)
    device = prepare_device(params.lookup(settings, "device"))
    print(f"image classifiers, random size: seed {seed} on {describe(device)['device']}")

    data = packed.load(PACKED)
    labelled, pairs = (
        load_training_pairs(source, None, course.mirror, device) for source in (data, packed.load(UNLABELLED))
    )
    valid = load_split(data, "val", device)
    lidar = Path(f"models/random_size/lidar/seed-{seed}.pt")
    teacher = load_frozen(lidar, LidarClassifier, device)
    told = {
        "image_supervised": (labelled, data.label[data.rows("train")].float().to(device), valid.label),
        "image_distilled": (pairs, answers(teacher, pairs, "what the LiDAR classifier says"), answers(teacher, valid)),
    }
    trained_by = {**asdict(course), **asdict(protocol)}
    config = {**trained_by, **embedder.arguments(), "optimizer": "AdamW", "scheduler": "1cycle", "seed": seed}
    folder, unfinished = Path(f"unfinished/train_random_size_image@{seed}"), []
    for name, (train, target, valid_target) in told.items():
        runs = UnfinishedRuns(folder / name, device, [PACKED, UNLABELLED, lidar], course, protocol, embedder)
        unfinished.append(runs)
        called = f"{name}-random-size-{seed}"
        with tracking.start_run(settings, group="random_size", name=called, config=config) as tracked:
            run = Run(seed, f"{name}, random size, seed {seed}", tracked.log_step, runs.of(seed))
            done = train_image(train, target, valid, valid_target, course, protocol, embedder, run)
        path = Path(f"models/random_size/{name}/seed-{seed}.pt")
        save_checkpoint(path, done.model, "image_classifier", embedder.arguments(), trained_by, seed)
    for runs in unfinished:  # now that both are there: until then the stage, run again, takes the first as it is
        runs.clear()


if __name__ == "__main__":
    cli.run(main)
