"""Pack scenes without labels, for contrastive pretraining: those that no split drew, and further ones if simulated.

    PYTHONPATH=src python stages/pack_unlabelled.py

Scene i is a function of (seed, i), so the further scenes are those that a larger ``data.scenes`` would have put into
``data/raw``: they start where it ends, and go straight into the packed file.
"""

import argparse
from functools import partial
from pathlib import Path

from cilp import params
from cilp.console import cli
from cilp.packed import load, save
from cilp.packing import pack_unlabelled, undrawn
from cilp.raw.layout import MANIFEST, read_manifest
from cilp.raw.simulate import MOST_UNLABELLED
from cilp.simulation.processes import rendering
from cilp.simulation.scenes import SimulateParams

RAW, PACKED, TARGET = Path("data/raw"), Path("data/packed.pt"), Path("data/unlabelled.pt")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    further = params.whole(settings, "data.unlabelled", 0, MOST_UNLABELLED)
    drawn = set(load(PACKED).scene.tolist())
    pool = undrawn(read_manifest(RAW / MANIFEST), drawn, params.lookup(settings, "data.splits"))
    if params.lookup(settings, "data.source") == "simulate":
        first = params.lookup(settings, "data.scenes")
        simulation = params.section(settings, "data.simulate", SimulateParams)
        packed = pack_unlabelled(RAW, pool, range(first, first + further), partial(rendering, simulation))
    else:
        packed = pack_unlabelled(RAW, pool)
    save(packed, TARGET)
    print(f"{TARGET}: {len(packed.scene):,} pairs, {TARGET.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    cli.run(main)
