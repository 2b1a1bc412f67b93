"""Train a fusion on fewer and fewer scenes: from scratch, and as a head on both of CILP's frozen embeddings.

    PYTHONPATH=src python stages/data_efficiency_fusion.py

Writes ``metrics/data_efficiency/fusion.csv``, accuracies on the test set.
"""

import argparse
from pathlib import Path

from cilp import packed, params
from cilp.classifiers.fewer_scenes import few, head_on, long_enough, protocol_of
from cilp.classifiers.fusion import FusionProtocol, network, train_fusion
from cilp.console import cli
from cilp.contrastive.frozen import load_frozen
from cilp.evaluation.data_efficiency import Reached, write_reached
from cilp.models.cilp import Cilp
from cilp.training.classifier import logits_of, score
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import load_split
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

    reached, folders = [], []
    for count in asked.scenes:
        folder = Path(f"unfinished/data_efficiency_fusion/{count}")
        runs = UnfinishedRuns(folder, device, [PACKED], arguments, protocol, asked.least_steps)
        folders.append(runs)
        for seed in seeds:
            train, valid = few(data, count, seed, device)
            label = f"{asked.fusion}, {count} scenes, seed {seed}"
            long = long_enough(protocol, len(train), asked.least_steps)
            done = train_fusion(arguments, train, valid, long, seed, label, unfinished=runs.of(seed))
            accuracy = score(logits_of(done.model, test), test.label)[1]
            cilp = load_frozen(Path(f"models/cilp/seed-{seed}.pt"), Cilp, device)
            long = long_enough(head, len(train), asked.least_steps)
            pretrained = head_on([cilp.rgb, cilp.lidar], long, train, valid, test, seed, f"head of {label}")
            reached.append(Reached("fusion", False, count, seed, accuracy))
            reached.append(Reached("fusion", True, count, seed, pretrained))
    write_reached(Path("metrics/data_efficiency/fusion.csv"), reached)
    for runs in folders:
        runs.clear()


if __name__ == "__main__":
    cli.run(main)
