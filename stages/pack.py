"""Pack the subset into one file of tensors, which training maps into memory.

    PYTHONPATH=src python stages/pack.py

After this point nothing needs FiftyOne, its database or a PNG decoder. Angles that ``cilp.mirror`` cannot work with are
refused here, before hours of training.
"""

import argparse
from pathlib import Path

from cilp import params
from cilp.console import cli
from cilp.packed import check_mirror, save
from cilp.packing import pack
from cilp.raw.exported import read_export

TARGET = Path("data/packed.pt")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    packed = pack(read_export(Path("data/subset")))
    if params.lookup(params.load(), "cilp.mirror"):
        check_mirror(packed)
    save(packed, TARGET)
    print(f"{TARGET}: {len(packed.label):,} pairs, {TARGET.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    cli.run(main)
