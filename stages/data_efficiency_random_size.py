"""Train classifiers on fewer and fewer scenes, with and without CILP, where size tells nothing about shape; one seed.

    PYTHONPATH=src python stages/data_efficiency_random_size.py --seed 51

What ``data_efficiency_cilp`` and ``data_efficiency_image`` do on the study's scenes, but for the image classifier by
the LiDAR classifier's protocol. Of random size there is no test split: accuracies are on ``audit.scenes`` scenes that
are rendered for it. Writes ``metrics/data_efficiency/random_size-<seed>.csv``.
"""

import argparse
from pathlib import Path

from cilp import packed, params
from cilp.classifiers.course import OneCycleParams, course_of
from cilp.classifiers.fewer_scenes import few, load_rows, long_enough, protocol_of
from cilp.classifiers.images import train_image
from cilp.classifiers.pretrained import train_pretrained
from cilp.classifiers.random_size import sizes
from cilp.classifiers.transfer import TransferProtocol, train_lidar
from cilp.console import cli
from cilp.cores import available_cores
from cilp.embeddings import embed_all
from cilp.evaluation.audit import rendered, scenes_of
from cilp.evaluation.data_efficiency import Reached, write_reached
from cilp.models.cilp import Cilp
from cilp.models.embedder import MODALITIES, EmbedderParams
from cilp.simulation.varied import of_random_size
from cilp.training.checkpoint import load_frozen
from cilp.training.classifier import TrainingParams, logits_of, score
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import ImageSplit, LidarSplit, load_split
from cilp.training.loop import Run
from cilp.training.unfinished import UnfinishedRuns

PACKED = Path("data/random_size.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True)
    seed = parser.parse_args().seed
    settings = params.load()
    asked, head = protocol_of(settings)
    settings["cilp"]["steps"] = sizes(settings).cilp_steps
    course = course_of(settings)
    one_cycle = params.section(settings, "image_classifier", OneCycleParams)
    protocol = params.section(settings, "lidar", TrainingParams)
    embedder = params.section(settings, "embedder", EmbedderParams)
    transfer = TransferProtocol.of(settings)
    device = prepare_device(params.lookup(settings, "device"))
    print(f"fewer scenes of random size: seed {seed} on {describe(device)['device']}")

    reached, folders = [], []
    if asked.scenes:
        data = packed.load(PACKED)
        whole = {split: load_split(data, split, device) for split in ("train", "val")}
        whole["test"] = rendered(of_random_size(settings), scenes_of(settings), available_cores(), device)
        cilp = load_frozen(Path(f"models/random_size/cilp/seed-{seed}.pt"), Cilp, device)
        embedded = embed_all([cilp.rgb, cilp.lidar], whole)
        test_image, test_lidar = ImageSplit.of(whole["test"]), LidarSplit.of(whole["test"])
        test_images, test_views = (embedded[modality]["test"] for modality in MODALITIES)
    for count in asked.scenes:
        folder = Path(f"unfinished/data_efficiency_random_size@{seed}")
        by_lidar = UnfinishedRuns(folder / f"lidar-{count}", device, [PACKED], protocol, embedder, asked.least_steps)
        by_image = UnfinishedRuns(folder / f"image-{count}", device, [PACKED], course, one_cycle, embedder)
        folders += [by_lidar, by_image]
        rows = few(data, count, seed, "random_size.train")
        train, valid = (load_rows(data, split, rows[split], device) for split in rows)
        label = f"random size, {count} scenes, seed {seed}"
        long = long_enough(protocol, len(train), asked.least_steps)
        run = Run(seed, f"LiDAR, {label}", unfinished=by_lidar.of(seed))
        lidar = train_lidar(embedder, long, train, valid, run).model
        run = Run(seed, f"image, as long as CILP, {label}", unfinished=by_image.of(seed))
        image = train_image(train, train.label, valid, valid.label, course, one_cycle, embedder, run).model
        images, views = ([embedded[modality][split].select(rows[split]) for split in rows] for modality in MODALITIES)
        on_cilp = train_pretrained(images, views, [train, valid], lidar, head, transfer, asked.least_steps, seed, label)
        for model, way, trained, split in (
            ("lidar", "scratch", lidar, test_lidar),
            ("lidar", "pretrained", on_cilp.on_views, test_views),
            ("rgb2lidar", "supervised", image, test_image),
            ("rgb2lidar", "pretrained", on_cilp.bridge, test_images),
            ("rgb2lidar", "head", on_cilp.on_images, test_images),
        ):
            reached.append(Reached(model, way, count, seed, score(logits_of(trained, split), split.label)[1]))
    write_reached(Path(f"metrics/data_efficiency/random_size-{seed}.csv"), reached)
    for runs in folders:
        runs.clear()


if __name__ == "__main__":
    cli.run(main)
