"""Train the LiDAR and the RGB-to-LiDAR classifier, with one seed, on scenes in which size tells nothing about shape.

    PYTHONPATH=src python stages/train_random_size_cilp.py --seed 51

CILP is pretrained on scenes without labels (``random_size.pretraining``); all else is the protocol of the study.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from cilp import packed, params, tracking
from cilp.classifiers.transfer import TransferProtocol, train_lidar, train_rgb2lidar
from cilp.console import cli
from cilp.contrastive.pairs import load_pairs, load_training_pairs
from cilp.contrastive.pretraining import CilpParams, pretrain
from cilp.models.embedder import EmbedderParams
from cilp.training.checkpoint import save_checkpoint
from cilp.training.classifier import TrainingParams
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import load_split
from cilp.training.loop import Run
from cilp.training.seeds import write_cost
from cilp.training.unfinished import UnfinishedRuns

PACKED, UNLABELLED = Path("data/random_size.pt"), Path("data/random_size_unlabelled.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True)
    seed = parser.parse_args().seed
    settings = params.load()
    cilp_protocol = params.section(settings, "cilp", CilpParams)
    lidar_protocol = params.section(settings, "lidar", TrainingParams)
    embedder = params.section(settings, "embedder", EmbedderParams)
    transfer = TransferProtocol.of(settings)
    device = prepare_device(params.lookup(settings, "device"))
    print(f"LiDAR and RGB-to-LiDAR, random size: seed {seed} on {describe(device)['device']}")

    data, unlabelled = packed.load(PACKED), packed.load(UNLABELLED)
    splits = [load_split(data, split, device) for split in ("train", "val")]
    folder = Path(f"unfinished/train_random_size_cilp@{seed}")
    runs = UnfinishedRuns(folder, device, [PACKED], cilp_protocol, lidar_protocol, embedder)
    cilp_runs = UnfinishedRuns(folder / "cilp", device, [UNLABELLED], cilp_protocol, embedder)
    config = {**asdict(lidar_protocol), **embedder.arguments(), "optimizer": "Adam", "seed": seed}
    with tracking.start_run(settings, group="random_size", name=f"lidar-random-size-{seed}", config=config) as tracked:
        run = Run(seed, f"lidar, random size, seed {seed}", tracked.log_epoch, runs.of(seed))
        lidar = train_lidar(embedder, lidar_protocol, *splits, run).model
    config = {**asdict(cilp_protocol), **embedder.arguments(), "optimizer": "AdamW", "seed": seed}
    with tracking.start_run(settings, group="random_size", name=f"cilp-random-size-{seed}", config=config) as tracked:
        pairs = load_training_pairs(unlabelled, None, cilp_protocol.mirror, device)
        valid = load_pairs([(unlabelled, unlabelled.rows("val"))], device)
        run = Run(seed, f"CILP, random size, seed {seed}", tracked.log_step, cilp_runs.of(seed))
        pretrained = pretrain(pairs, valid, cilp_protocol, embedder, run)
    cilp = pretrained.model.requires_grad_(False).eval()
    frozen = lidar.requires_grad_(False).eval()
    rgb2lidar = train_rgb2lidar(cilp.rgb, frozen, transfer, *splits, seed, f"random size, seed {seed}").model
    bridged = {"cilp": asdict(cilp_protocol), **{part: asdict(it) for part, it in vars(transfer).items()}}
    for name, model, trained_by in (
        ("lidar", lidar, asdict(lidar_protocol)),
        ("cilp", cilp, asdict(cilp_protocol)),
        ("rgb2lidar", rgb2lidar, bridged),
    ):
        path = Path(f"models/random_size/{name}/seed-{seed}.pt")
        save_checkpoint(path, model, name, embedder.arguments(), trained_by, seed)
    cost = Path(f"costs/random_size/cilp-{seed}.json")
    write_cost(cost, {seed: pretrained.cost}, **describe(device), seeds=[seed], samples={"train": len(pairs)})
    runs.clear()


if __name__ == "__main__":
    cli.run(main)
