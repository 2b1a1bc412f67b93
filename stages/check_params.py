"""Refuse ``params.yaml`` as a whole if anything in it is wrong, before any stage works.

    PYTHONPATH=src python stages/check_params.py

What it writes is always the same, so that a changed param re-runs the stages that read it and no others.
"""

import argparse
from pathlib import Path

from cilp.atomic import write_text
from cilp.console import cli
from cilp.plain_yaml import read
from cilp.schema import check


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    check(read())
    write_text(Path("data/params.ok"), "Nothing is wrong in params.yaml.\n")


if __name__ == "__main__":
    cli.run(main)
