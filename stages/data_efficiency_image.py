"""Train an image classifier on fewer and fewer scenes, as long as CILP and on images varied as CILP's are.

    PYTHONPATH=src python stages/data_efficiency_image.py

It is that of ``train_image_supervised``, which on all scenes is taken. Writes ``metrics/data_efficiency/image.csv``,
accuracies on the test set.
"""

import argparse
from pathlib import Path

from cilp import packed, params
from cilp.classifiers.course import OneCycleParams, course_of
from cilp.classifiers.fewer_scenes import few, load_rows, protocol_of
from cilp.classifiers.images import train_image
from cilp.console import cli
from cilp.evaluation.data_efficiency import Reached, write_reached
from cilp.models.embedder import EmbedderParams
from cilp.models.image_classifier import ImageClassifier
from cilp.training.checkpoint import load_frozen
from cilp.training.classifier import logits_of, score
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import ImageSplit, load_split
from cilp.training.loop import Run
from cilp.training.seeds import check_seeds
from cilp.training.unfinished import UnfinishedRuns

PACKED, UNFINISHED = Path("data/packed.pt"), Path("unfinished/data_efficiency_image")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    scenes = protocol_of(settings)[0].scenes
    course = course_of(settings)
    protocol = params.section(settings, "image_classifier", OneCycleParams)
    embedder = params.section(settings, "embedder", EmbedderParams)
    seeds = check_seeds(params.lookup(settings, "seeds"))
    device = prepare_device(params.lookup(settings, "device"))
    print(f"image classifier on fewer scenes: {len(seeds)} seeds on {describe(device)['device']}")
    data = packed.load(PACKED)
    test = ImageSplit.of(load_split(data, "test", device))
    everything = len(data.label[data.rows("train")])

    reached, folders = [], []
    for count in scenes:
        runs = UnfinishedRuns(UNFINISHED / str(count), device, [PACKED], course, protocol, embedder)
        folders.append(runs)
        for seed in seeds:
            train, valid = (load_rows(data, split, rows, device) for split, rows in few(data, count, seed).items())
            if len(train) == everything:  # the same bits as train_image_supervised's
                model = load_frozen(Path(f"models/image_supervised/seed-{seed}.pt"), ImageClassifier, device)
            else:
                label = f"image, as long as CILP, {count} scenes, seed {seed}"
                run = Run(seed, label, unfinished=runs.of(seed))
                told = train.label, valid, valid.label
                model = train_image(train, *told, course, protocol, embedder, run).model
            accuracy = score(logits_of(model, test), test.label)[1]
            reached.append(Reached("rgb2lidar", "supervised", count, seed, accuracy))
    write_reached(Path("metrics/data_efficiency/image.csv"), reached)
    for runs in folders:
        runs.clear()


if __name__ == "__main__":
    cli.run(main)
