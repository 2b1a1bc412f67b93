"""Draw the splits by scene and export the grouped FiftyOne dataset: data/raw/ -> data/subset/.

PYTHONPATH=src python stages/subset.py
"""

import argparse
from collections import Counter
from dataclasses import fields
from pathlib import Path

from cilp import params
from cilp.console.cli import run
from cilp.raw.layout import MANIFEST, SPLITS, read_manifest
from cilp.subset.grouped import export_grouped
from cilp.subset.splits import SplitParams, cut_scenes, draw_splits

RAW, SUBSET = Path("data/raw"), Path("data/subset")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    data = {field.name: params.lookup(params.load(), f"data.{field.name}") for field in fields(SplitParams)}
    chosen = params.section({"data": data}, "data", SplitParams)
    pairs = draw_splits(
        read_manifest(RAW / MANIFEST),
        chosen.subset,
        chosen.test,
        chosen.valid_fraction,
        chosen.split_seed,
        chosen.splits,
    )
    cut = cut_scenes(pairs)
    if cut:
        print(
            f"subset: the given splits put cube and sphere of {len(cut):,} scenes into different ones, so that models "
            "are validated on places, colours and lights they were trained on; data.splits: drawn avoids it"
        )
    print(f"subset: starting FiftyOne for {len(pairs):,} objects", flush=True)
    export_grouped(RAW, pairs, SUBSET)
    counts = Counter(pair.split for pair in pairs)
    sizes = ", ".join(f"{split} {counts[split]:,}" for split in SPLITS)
    print(f"subset: {len(pairs):,} objects ({sizes}) in {SUBSET}")


if __name__ == "__main__":
    run(main)
