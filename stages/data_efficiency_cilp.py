"""Train the LiDAR and the RGB-to-LiDAR classifier on fewer and fewer scenes, with and without CILP.

    PYTHONPATH=src python stages/data_efficiency_cilp.py

With CILP, the LiDAR classifier is a head on its frozen LiDAR embeddings; without, the RGB-to-LiDAR classifier is an
image classifier of the same size. Writes ``metrics/data_efficiency/cilp.csv``, accuracies on the test set.
"""

import argparse
from pathlib import Path

from cilp import packed, params
from cilp.classifiers.fewer_scenes import few, head_on, image_classifier, long_enough, protocol_of
from cilp.classifiers.transfer import TransferProtocol, train_lidar, train_rgb2lidar
from cilp.console import cli
from cilp.contrastive.frozen import load_frozen
from cilp.contrastive.projection import ProjectorParams
from cilp.evaluation.data_efficiency import Reached, write_reached
from cilp.models.cilp import Cilp
from cilp.models.embedder import EmbedderParams, build
from cilp.training.classifier import TrainingParams, logits_of, score, train_classifier
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import ImageSplit, LidarSplit, load_split
from cilp.training.seeds import check_seeds
from cilp.training.unfinished import UnfinishedRuns

PACKED, UNFINISHED = Path("data/packed.pt"), Path("unfinished/data_efficiency_cilp")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    asked, head = protocol_of(settings)
    protocol = params.section(settings, "lidar", TrainingParams)
    embedder = params.section(settings, "embedder", EmbedderParams)
    transfer = TransferProtocol(
        params.section(settings, "projector", ProjectorParams), params.section(settings, "rgb2lidar", TrainingParams)
    )
    seeds = check_seeds(params.lookup(settings, "seeds"))
    device = prepare_device(params.lookup(settings, "device"))
    print(f"LiDAR and RGB-to-LiDAR on fewer scenes: {len(seeds)} seeds on {describe(device)['device']}")
    data = packed.load(PACKED)
    test = load_split(data, "test", device)
    test_lidar, test_image = LidarSplit.of(test), ImageSplit.of(test)

    reached, folders = [], []
    for count in asked.scenes:
        lidar_runs, image_runs = (
            UnfinishedRuns(UNFINISHED / f"{name}-{count}", device, [PACKED], protocol, embedder, asked.least_steps)
            for name in ("lidar", "image")
        )
        folders += [lidar_runs, image_runs]
        for seed in seeds:
            train, valid = few(data, count, seed, device)
            label = f"{count} scenes, seed {seed}"
            long = long_enough(protocol, len(train), asked.least_steps)
            lidar = train_lidar(
                embedder, long, train, valid, seed, f"LiDAR, {label}", unfinished=lidar_runs.of(seed)
            ).model
            image = train_classifier(
                lambda: image_classifier(build("rgb", **embedder.arguments())), ImageSplit.of(train),
                ImageSplit.of(valid), long, seed, f"image, {label}", unfinished=image_runs.of(seed), section="lidar",
            ).model  # fmt: skip
            cilp = load_frozen(Path(f"models/cilp/seed-{seed}.pt"), Cilp, device)
            on_cilp = long_enough(head, len(train), asked.least_steps)
            pretrained = head_on([cilp.lidar], on_cilp, train, valid, test, seed, f"head, LiDAR, {label}")
            frozen = lidar.requires_grad_(False).eval()
            through = TransferProtocol(
                long_enough(transfer.projector, len(train), asked.least_steps),
                long_enough(transfer.rgb2lidar, len(train), asked.least_steps),
            )
            rgb2lidar = train_rgb2lidar(cilp.rgb, frozen, through, train, valid, seed, label).model
            for model, with_cilp, trained, split in (
                ("lidar", False, lidar, test_lidar),
                ("rgb2lidar", False, image, test_image),
                ("rgb2lidar", True, rgb2lidar, test_image),
            ):
                accuracy = score(logits_of(trained, split), test.label)[1]
                reached.append(Reached(model, with_cilp, count, seed, accuracy))
            reached.append(Reached("lidar", True, count, seed, pretrained))
    write_reached(Path("metrics/data_efficiency/cilp.csv"), reached)
    for runs in folders:
        runs.clear()


if __name__ == "__main__":
    cli.run(main)
