"""Train the LiDAR and the RGB-to-LiDAR classifier on fewer and fewer scenes, with and without CILP.

    PYTHONPATH=src python stages/data_efficiency_cilp.py

With CILP, the LiDAR classifier is a head on its frozen LiDAR embeddings; without, the RGB-to-LiDAR classifier is an
image classifier of the same size. Beside both stands a head on CILP's image embeddings, for which no LiDAR classifier
is needed. On all scenes, the LiDAR classifier from scratch is that of ``train_lidar``. Writes
``metrics/data_efficiency/cilp.csv``, accuracies on the test set.
"""

import argparse
from pathlib import Path

from cilp import packed, params
from cilp.classifiers.fewer_scenes import few, load_rows, long_enough, protocol_of
from cilp.classifiers.pretrained import train_pretrained
from cilp.classifiers.transfer import TransferProtocol, train_lidar
from cilp.console import cli
from cilp.embeddings import load_embeddings
from cilp.evaluation.data_efficiency import Reached, write_reached
from cilp.models.embedder import MODALITIES, EmbedderParams
from cilp.models.image_classifier import build
from cilp.models.lidar import LidarClassifier
from cilp.training.checkpoint import load_frozen
from cilp.training.classifier import TrainingParams, logits_of, score, train_classifier
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import ImageSplit, LidarSplit, load_split
from cilp.training.loop import Run
from cilp.training.seeds import check_seeds
from cilp.training.unfinished import UnfinishedRuns

PACKED, UNFINISHED = Path("data/packed.pt"), Path("unfinished/data_efficiency_cilp")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    asked, head = protocol_of(settings)
    protocol = params.section(settings, "lidar", TrainingParams)
    embedder = params.section(settings, "embedder", EmbedderParams)
    transfer = TransferProtocol.of(settings)
    seeds = check_seeds(params.lookup(settings, "seeds"))
    device = prepare_device(params.lookup(settings, "device"))
    print(f"LiDAR and RGB-to-LiDAR on fewer scenes: {len(seeds)} seeds on {describe(device)['device']}")
    data = packed.load(PACKED)
    whole = {split: load_split(data, split, device) for split in packed.SPLITS}
    test_lidar, test_image = LidarSplit.of(whole["test"]), ImageSplit.of(whole["test"])

    embedded = {seed: load_embeddings(Path(f"data/embeddings/cilp/seed-{seed}.pt"), device) for seed in seeds}

    reached, folders = [], []
    for count in asked.scenes:
        lidar_runs, image_runs = (
            UnfinishedRuns(UNFINISHED / f"{name}-{count}", device, [PACKED], protocol, embedder, asked.least_steps)
            for name in ("lidar", "image")
        )
        folders += [lidar_runs, image_runs]
        for seed in seeds:
            rows = few(data, count, seed)
            train, valid = (load_rows(data, split, rows[split], device) for split in rows)
            label = f"{count} scenes, seed {seed}"
            long = long_enough(protocol, len(train), asked.least_steps)
            if long == protocol and len(train) == len(whole["train"]):  # the same bits as train_lidar's
                lidar = load_frozen(Path(f"models/lidar/seed-{seed}.pt"), LidarClassifier, device)
            else:
                run = Run(seed, f"LiDAR, {label}", unfinished=lidar_runs.of(seed))
                lidar = train_lidar(embedder, long, train, valid, run).model
            run = Run(seed, f"image, {label}", unfinished=image_runs.of(seed))
            splits = ImageSplit.of(train), ImageSplit.of(valid)
            image = train_classifier(lambda: build(**embedder.arguments()), *splits, long, run, "lidar").model
            images, views = (
                [embedded[seed][modality][split].select(rows[split]) for split in rows] for modality in MODALITIES
            )
            on_cilp = train_pretrained(
                images, views, [train, valid], lidar, head, transfer, asked.least_steps, seed, label
            )
            test_images, test_views = (embedded[seed][modality]["test"] for modality in MODALITIES)
            for model, way, trained, split in (
                ("lidar", "scratch", lidar, test_lidar),
                ("lidar", "pretrained", on_cilp.on_views, test_views),
                ("rgb2lidar", "scratch", image, test_image),
                ("rgb2lidar", "pretrained", on_cilp.bridge, test_images),
                ("rgb2lidar", "head", on_cilp.on_images, test_images),
            ):
                accuracy = score(logits_of(trained, split), split.label)[1]
                reached.append(Reached(model, way, count, seed, accuracy))
    write_reached(Path("metrics/data_efficiency/cilp.csv"), reached)
    for runs in folders:
        runs.clear()


if __name__ == "__main__":
    cli.run(main)
