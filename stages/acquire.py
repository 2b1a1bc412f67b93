"""Lay the data out as images and range images of cubes and spheres: rendered here, or taken from an existing tree.

    PYTHONPATH=src python stages/acquire.py

Writes ``data/raw/`` with its ``manifest.csv``, whole or not at all.
"""

import argparse
import shutil
from pathlib import Path

from cilp import params
from cilp.console import cli
from cilp.errors import UserError
from cilp.raw.folder import FolderParams, import_tree
from cilp.raw.layout import write_manifest
from cilp.raw.simulate import MOST_SCENES, simulate
from cilp.simulation.scenes import SimulateParams

SOURCES = ("simulate", "folder")
TARGET = Path("data/raw")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    source = params.choice(settings, "data.source", SOURCES)
    # only for an early word: `subset` checks the same when it draws
    asked = sum(params.whole(settings, key, 1, MOST_SCENES) for key in ("data.subset", "data.test"))

    if source == "simulate":
        scenes = params.whole(settings, "data.scenes", 1, MOST_SCENES)
        if scenes < asked:
            raise UserError(
                f"data.scenes is {scenes}, but data.subset and data.test ask for {asked}; raise it or lower them."
            )
        simulation = params.section(settings, "data.simulate", SimulateParams)
    else:
        tree = params.section(settings, "data.folder", FolderParams).source()

    building = TARGET.with_name(f".{TARGET.name}.tmp")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    pairs = simulate(building, scenes, simulation) if source == "simulate" else import_tree(tree, building, asked)[0]
    write_manifest(building, pairs)
    shutil.rmtree(TARGET, ignore_errors=True)
    building.rename(TARGET)
    print(f"{TARGET}: {len(pairs):,} pairs of image and range image from {source}")


if __name__ == "__main__":
    cli.run(main)
