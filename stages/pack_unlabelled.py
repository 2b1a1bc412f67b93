"""Pack the scenes that no split drew, without labels: more pairs for contrastive pretraining.

PYTHONPATH=src python stages/pack_unlabelled.py
"""

import argparse
from pathlib import Path

from cilp.console import cli
from cilp.packed import load, save
from cilp.packing import pack_unlabelled
from cilp.raw.layout import MANIFEST, read_manifest

RAW, PACKED, TARGET = Path("data/raw"), Path("data/packed.pt"), Path("data/unlabelled.pt")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    drawn = set(load(PACKED).scene.tolist())
    pool = [pair for pair in read_manifest(RAW / MANIFEST) if pair.index not in drawn and pair.split in ("", "train")]
    save(pack_unlabelled(RAW, pool), TARGET)
    print(f"{TARGET}: {len(pool):,} pairs, {TARGET.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    cli.run(main)
