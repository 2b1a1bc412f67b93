"""Draw the splits by scene and export the grouped FiftyOne dataset: data/raw/ -> data/subset/.

PYTHONPATH=src python stages/subset.py
"""

import argparse
from collections import Counter
from dataclasses import fields
from pathlib import Path

from cilp import params
from cilp.console.cli import run
from cilp.raw.layout import CLASSES, MANIFEST, SPLITS, read_manifest
from cilp.subset.grouped import export_grouped
from cilp.subset.splits import SplitParams, draw_splits

RAW, SUBSET = Path("data/raw"), Path("data/subset")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    data = {field.name: params.lookup(params.load(), f"data.{field.name}") for field in fields(SplitParams)}
    chosen = params.section({"data": data}, "data", SplitParams)
    pairs = read_manifest(RAW / MANIFEST)
    scenes = draw_splits(pairs, chosen.subset, chosen.test, chosen.valid_fraction, chosen.split_seed)
    print(f"subset: starting FiftyOne for {len(scenes)} scenes", flush=True)
    export_grouped(RAW, scenes, SUBSET)
    counts = Counter(scenes.values())
    sizes = ", ".join(f"{split} {counts[split]}" for split in SPLITS)
    print(f"subset: {len(scenes)} scenes ({sizes}) of {len(CLASSES)} objects each in {SUBSET}")


if __name__ == "__main__":
    run(main)
