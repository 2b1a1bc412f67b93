"""Pretrain CILP on image-LiDAR pairs without labels, on every seed, and evaluate each model on the held-out test set.

    PYTHONPATH=src python stages/pretrain_cilp.py

Reads ``data/packed.pt``, ``data/unlabelled.pt`` and the params ``cilp``, ``embedder``, ``seeds`` and ``device``.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from cilp import packed, params, tracking
from cilp.console import cli
from cilp.contrastive.loss import REPORTED_BATCH
from cilp.contrastive.pairs import load_pairs, load_training_pairs
from cilp.contrastive.pretraining import CilpParams, embed, evaluate, pretrain
from cilp.models.embedder import EmbedderParams
from cilp.models.layers.blocks import count_parameters
from cilp.training.checkpoint import save_checkpoint
from cilp.training.device import describe, prepare_device
from cilp.training.loop import Run
from cilp.training.results import Results
from cilp.training.seeds import check_seeds
from cilp.training.unfinished import UnfinishedRuns

PACKED, UNLABELLED = Path("data/packed.pt"), Path("data/unlabelled.pt")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    protocol = params.section(settings, "cilp", CilpParams)
    embedder = params.section(settings, "embedder", EmbedderParams)
    seeds = check_seeds(params.lookup(settings, "seeds"))
    device = prepare_device(params.lookup(settings, "device"))
    machine = describe(device)

    data = packed.load(PACKED)
    pool = packed.load(UNLABELLED) if protocol.unlabelled else None
    train = load_training_pairs(data, pool, protocol.mirror, device)
    valid, test = (load_pairs([(data, data.rows(split))], device) for split in ("val", "test"))
    print(f"CILP: {len(seeds)} seeds, {len(train):,} pairs, on {machine['device']}")
    read = [PACKED, UNLABELLED] if protocol.unlabelled else [PACKED]
    runs = UnfinishedRuns(Path("unfinished/pretrain_cilp"), device, read, protocol, embedder)

    results = Results("cilp")
    for seed in seeds:
        config = {**asdict(protocol), **embedder.arguments(), "optimizer": "AdamW", "seed": seed}
        with tracking.start_run(settings, group="cilp", name=f"cilp-{seed}", config=config) as tracked:
            run = Run(seed, f"CILP seed {seed}", tracked.log_step, runs.of(seed))
            done = pretrain(train, valid, protocol, embedder, run)
            figures = {
                f"{split}_{key}": value
                for split, pairs in (("valid", valid), ("test", test))
                for key, value in evaluate(done.model, pairs).items()
                if key in ("loss", "unscaled_loss", "twin_accuracy") and value is not None
            }
            figures["temperature"] = done.model.temperature()
            results.add(seed, done, figures)
            save_checkpoint(
                Path(f"models/cilp/seed-{seed}.pt"), done.model, "cilp", embedder.arguments(), asdict(protocol), seed
            )
            rgb, lidar = embed(done.model, valid.first(REPORTED_BATCH))
            tracked.finish_cilp(done, figures, rgb @ lidar.T)

    constants = {"parameters": count_parameters(done.model), "training_pairs": len(train)}
    results.write(machine, {"train": len(train)}, **constants)
    runs.clear()


if __name__ == "__main__":
    cli.run(main)
