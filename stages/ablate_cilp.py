"""Pretrain CILP by one recipe of the ablation, on the first seed, and measure it on the validation set.

    PYTHONPATH=src python stages/ablate_cilp.py --recipe no-twins

A recipe under ``cilp_ablation.recipes`` changes some params of ``cilp`` and ``embedder``. All recipes see as
many pairs. The RGB-to-LiDAR classifier behind each is trained as in the study, on the same seed's LiDAR classifier.
"""

import argparse
from pathlib import Path

from cilp import packed, params
from cilp.atomic import write_json
from cilp.classifiers.transfer import TransferProtocol, train_rgb2lidar
from cilp.console import cli
from cilp.contrastive.pairs import load_pairs, load_training_pairs
from cilp.contrastive.pretraining import CilpParams, evaluate, pretrain
from cilp.errors import UserError
from cilp.models.embedder import EmbedderParams
from cilp.models.lidar import LidarClassifier
from cilp.training.checkpoint import load_frozen
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import load_split
from cilp.training.loop import Run
from cilp.training.seeds import check_seeds, write_once
from cilp.training.unfinished import UnfinishedRuns

PACKED, UNLABELLED = Path("data/packed.pt"), Path("data/unlabelled.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", required=True, help="a name under cilp_ablation.recipes in params.yaml")
    name = parser.parse_args().recipe
    settings = params.load()
    recipe = params.lookup(settings, f"cilp_ablation.recipes.{name}") or {}
    for key in recipe:
        if key not in ("title", "cilp", "embedder"):
            raise UserError(f"cilp_ablation.recipes.{name}.{key} is no known param; known ones: title, cilp, embedder.")
    pairs = params.whole(settings, "cilp_ablation.pairs", 1, 10**9)
    seed = check_seeds(params.lookup(settings, "seeds"))[0]
    for section in ("cilp", "embedder"):
        settings[section] |= recipe.get(section, {})
    settings["cilp"]["steps"] = max(1, pairs // settings["cilp"]["batch_size"])
    protocol = params.section(settings, "cilp", CilpParams)
    embedder = params.section(settings, "embedder", EmbedderParams)
    transfer = TransferProtocol.of(settings)
    device = prepare_device(params.lookup(settings, "device"))
    print(f"CILP, recipe {name}: {protocol.steps} steps on {describe(device)['device']}")

    data = packed.load(PACKED)
    pool = packed.load(UNLABELLED) if protocol.unlabelled else None
    train = load_training_pairs(data, pool, protocol.mirror, device)
    valid = load_pairs([(data, data.rows("val"))], device)
    read = [PACKED, UNLABELLED] if protocol.unlabelled else [PACKED]
    runs = UnfinishedRuns(Path(f"unfinished/ablate_cilp@{name}"), device, read, protocol, embedder)
    run = Run(seed, f"CILP, {name}", unfinished=runs.of(seed))
    section = f"cilp_ablation.recipes.{name}.cilp" if "cilp" in recipe else "cilp"
    cilp = pretrain(train, valid, protocol, embedder, run, section).model
    figures = evaluate(cilp, valid)

    lidar = load_frozen(Path(f"models/lidar/seed-{seed}.pt"), LidarClassifier, device)
    splits = [load_split(data, split, device) for split in ("train", "val")]
    classifier = train_rgb2lidar(cilp.rgb, lidar, transfer, *splits, seed, name)
    kept = {key: figures[key] for key in ("unscaled_loss", "twin_accuracy") if figures[key] is not None}
    kept |= {f"recall_at_{k}": figures[f"image_to_lidar_recall_at_{k}"] for k in (1, 5)}
    kept["rgb2lidar_accuracy"] = classifier.best.valid_accuracy
    kept |= {"training_pairs": len(train), "steps": protocol.steps, "batch_size": protocol.batch_size}
    write_once(write_json, Path(f"metrics/cilp_ablation/{name}.json"), kept)
    runs.clear()


if __name__ == "__main__":
    cli.run(main)
