"""Train a fusion on fewer and fewer scenes: from scratch, and as a head on both of CILP's frozen embeddings.

    PYTHONPATH=src python stages/data_efficiency_fusion.py

Writes ``metrics/data_efficiency/fusion.csv``, accuracies on the test set.
"""

import argparse
from pathlib import Path

from cilp import packed, params
from cilp.classifiers.fewer_scenes import few, head_on, load_rows, long_enough, protocol_of, side_by_side
from cilp.classifiers.fusion import FusionProtocol, network, train_fusion
from cilp.console import cli
from cilp.embeddings import load_embeddings
from cilp.evaluation.data_efficiency import Reached, write_reached
from cilp.models.embedder import MODALITIES
from cilp.training.classifier import logits_of, score
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import load_split
from cilp.training.loop import Run
from cilp.training.seeds import check_seeds
from cilp.training.unfinished import UnfinishedRuns

PACKED = Path("data/packed.pt")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    asked, head = protocol_of(settings)
    protocol = params.section(settings, f"fusion.{asked.fusion}", FusionProtocol)
    arguments = network(asked.fusion, "maxpool", protocol)
    seeds = check_seeds(params.lookup(settings, "seeds"))
    device = prepare_device(params.lookup(settings, "device"))
    print(f"{asked.fusion} on fewer scenes: {len(seeds)} seeds on {describe(device)['device']}")
    data = packed.load(PACKED)
    test = load_split(data, "test", device)
    embedded = {seed: load_embeddings(Path(f"data/embeddings/cilp/seed-{seed}.pt"), device) for seed in seeds}

    reached, folders = [], []
    for count in asked.scenes:
        folder = Path(f"unfinished/data_efficiency_fusion/{count}")
        runs = UnfinishedRuns(folder, device, [PACKED], arguments, protocol, asked.least_steps)
        folders.append(runs)
        for seed in seeds:
            rows = few(data, count, seed)
            train, valid = (load_rows(data, split, rows[split], device) for split in rows)
            label = f"{asked.fusion}, {count} scenes, seed {seed}"
            long = long_enough(protocol, len(train), asked.least_steps)
            done = train_fusion(arguments, train, valid, long, Run(seed, label, unfinished=runs.of(seed)))
            accuracy = score(logits_of(done.model, test), test.label)[1]
            seen = {
                split: side_by_side(*(embedded[seed][name][split] for name in MODALITIES)) for split in packed.SPLITS
            }
            long = long_enough(head, len(train), asked.least_steps)
            on_cilp = head_on(*(seen[split].select(rows[split]) for split in rows), long, Run(seed, f"head of {label}"))
            pretrained = score(logits_of(on_cilp.model, seen["test"]), test.label)[1]
            reached.append(Reached("fusion", "scratch", count, seed, accuracy))
            reached.append(Reached("fusion", "pretrained", count, seed, pretrained))
    write_reached(Path("metrics/data_efficiency/fusion.csv"), reached)
    for runs in folders:
        runs.clear()


if __name__ == "__main__":
    cli.run(main)
