"""Render scenes in which size tells nothing about shape, without labels, for pretraining: random_size_unlabelled.pt.

    PYTHONPATH=src python stages/pack_random_size_unlabelled.py

The scenes of ``data/random_size.pt`` and ``random_size.pretraining.unlabelled`` further ones; with ``matched_twins``,
the sphere of each is as large as its cube.
"""

import argparse
from functools import partial
from pathlib import Path

from cilp import params
from cilp.classifiers.random_size import PretrainingParams, sizes
from cilp.console import cli
from cilp.packed import save
from cilp.packing import pack_scenes
from cilp.simulation.processes import rendering
from cilp.simulation.varied import of_random_size

TARGET = Path("data/random_size_unlabelled.pt")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    pretraining = params.section(settings, "random_size.pretraining", PretrainingParams)
    rendered = partial(rendering, of_random_size(settings), matched_twins=pretraining.matched_twins)
    packed = pack_scenes(pretraining.scenes(sizes(settings).scenes()), rendered, labelled=False)
    save(packed, TARGET)
    print(f"{TARGET}: {len(packed.scene):,} pairs, {TARGET.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    cli.run(main)
