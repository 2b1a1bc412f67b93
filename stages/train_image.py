"""Train an image classifier as long and on the same batches as CILP, on every seed; evaluate it once on the test set.

    PYTHONPATH=src python stages/train_image.py --told labels
    PYTHONPATH=src python stages/train_image.py --told lidar

Told the labels, it sees the training split alone. Told what the LiDAR classifier of its seed says, which is
distillation, it sees the unlabelled pairs too, where ``cilp.unlabelled`` has CILP see them.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from cilp import packed, params, tracking
from cilp.classifiers.course import OneCycleParams, course_of
from cilp.classifiers.images import answers, train_image
from cilp.console import cli
from cilp.contrastive.pairs import load_training_pairs
from cilp.models.embedder import EmbedderParams
from cilp.models.layers.blocks import count_parameters
from cilp.models.lidar import LidarClassifier
from cilp.training.checkpoint import load_frozen, save_checkpoint
from cilp.training.classifier import held_out
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import ImageSplit, load_split
from cilp.training.loop import Run
from cilp.training.results import Results
from cilp.training.seeds import check_seeds
from cilp.training.unfinished import UnfinishedRuns

PACKED, UNLABELLED = Path("data/packed.pt"), Path("data/unlabelled.pt")
NAMES = {"labels": "image_supervised", "lidar": "image_distilled"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--told", choices=NAMES, required=True, help="who tells it what an image shows")
    told = parser.parse_args().told
    name, distils = NAMES[told], told == "lidar"
    settings = params.load()
    course = course_of(settings)
    protocol = params.section(settings, "image_classifier", OneCycleParams)
    embedder = params.section(settings, "embedder", EmbedderParams)
    seeds = check_seeds(params.lookup(settings, "seeds"))
    device = prepare_device(params.lookup(settings, "device"))
    machine = describe(device)

    data = packed.load(PACKED)
    pool = packed.load(UNLABELLED) if distils and params.lookup(settings, "cilp.unlabelled") else None
    train = load_training_pairs(data, pool, course.mirror, device)
    labels = data.label[data.rows("train")].float().to(device)
    valid, test = (load_split(data, split, device) for split in ("val", "test"))
    print(f"{name}: {len(seeds)} seeds, {len(train):,} images, on {machine['device']}")
    teachers = {seed: Path(f"models/lidar/seed-{seed}.pt") for seed in seeds} if distils else {}
    read = [PACKED, *([] if pool is None else [UNLABELLED]), *teachers.values()]
    runs = UnfinishedRuns(Path(f"unfinished/train_{name}"), device, read, course, protocol, embedder)

    results = Results(name)
    for seed in seeds:
        target, valid_target = labels, valid.label
        if distils:
            teacher = load_frozen(teachers[seed], LidarClassifier, device)
            target = answers(teacher, train, f"{name} seed {seed}, what the LiDAR classifier says")
            valid_target = answers(teacher, valid)
        trained_by = {**asdict(course), **asdict(protocol)}
        config = {**trained_by, **embedder.arguments(), "optimizer": "AdamW", "scheduler": "1cycle", "seed": seed}
        with tracking.start_run(settings, group=name, name=f"{name}-{seed}", config=config) as tracked:
            run = Run(seed, f"{name} seed {seed}", tracked.log_step, runs.of(seed))
            done = train_image(train, target, valid, valid_target, course, protocol, embedder, run)
            figures, test_logits = held_out(done, ImageSplit.of(test))
            results.add(seed, done, figures)
            path = Path(f"models/{name}/seed-{seed}.pt")
            save_checkpoint(path, done.model, "image_classifier", embedder.arguments(), trained_by, seed)
            tracked.finish_classifier(done, figures, test, test_logits)

    constants = {"parameters": count_parameters(done.model), "training_images": len(train)}
    results.write(machine, {"train": len(train)}, **constants)
    runs.clear()


if __name__ == "__main__":
    cli.run(main)
