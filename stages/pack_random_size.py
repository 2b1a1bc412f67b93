"""Render scenes in which size tells nothing about shape, and pack them: data/random_size.pt.

    PYTHONPATH=src python stages/pack_random_size.py

Reads ``random_size``, which changes some params of ``data.simulate``.
"""

import argparse
from functools import partial
from pathlib import Path

from cilp import params
from cilp.classifiers.random_size import sizes
from cilp.console import cli
from cilp.packed import save
from cilp.packing import pack_scenes
from cilp.simulation.processes import rendering
from cilp.simulation.varied import of_random_size

TARGET = Path("data/random_size.pt")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    packed = pack_scenes(sizes(settings).scenes(), partial(rendering, of_random_size(settings)))
    save(packed, TARGET)
    print(f"{TARGET}: {len(packed.scene):,} pairs, {TARGET.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    cli.run(main)
