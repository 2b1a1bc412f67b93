"""Fit a classifier of one number, the area of an object that the LiDAR sees, to labelled scenes.

    PYTHONPATH=src python stages/fit_size_rule.py

Reads ``data/packed.pt``; writes ``models/size_rule.pt`` and ``metrics/size_rule/fixed_size.json``. With
``--random-size`` it is fitted to ``data/random_size.pt``, and ``models/random_size/size_rule.pt`` and
``metrics/size_rule/random_size.json`` are written. It tells how far a network can get by size alone.
"""

import argparse
from pathlib import Path

import torch

from cilp import packed
from cilp.atomic import write_json
from cilp.classifiers.size_rule import areas_of, share_right
from cilp.console import cli
from cilp.models.size_rule import SizeRule
from cilp.training.checkpoint import save_checkpoint
from cilp.training.inputs import load_split

TITLES = {"train": "train", "val": "valid", "test": "test"}
"""What splits are called in ``metrics/``."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random-size", action="store_true")
    if parser.parse_args().random_size:
        name, path, models = "random_size", Path("data/random_size.pt"), Path("models/random_size")
    else:
        name, path, models = "fixed_size", Path("data/packed.pt"), Path("models")
    data = packed.load(path)
    splits = {split: load_split(data, split, torch.device("cpu")) for split in packed.SPLITS}
    areas = {split: areas_of(rows) for split, rows in splits.items() if len(rows)}  # of random sizes there is no test
    rule = SizeRule.fit(areas["train"], splits["train"].label)
    figures = {"threshold_m2": rule.threshold}
    for split, area in areas.items():
        figures[f"{TITLES[split]}_accuracy"] = share_right(rule, area, splits[split].label)
    arguments = {"threshold": rule.threshold, "sign": rule.sign}
    save_checkpoint(models / "size_rule.pt", rule, "size_rule", arguments, params={}, seed=0)
    write_json(Path(f"metrics/size_rule/{name}.json"), figures)
    print(", ".join(f"{figure} {value:.4f}" for figure, value in figures.items()))


if __name__ == "__main__":
    cli.run(main)
