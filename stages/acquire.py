"""Lay the data out as images and range images of cubes and spheres: rendered here, or taken from where they are.

    PYTHONPATH=src python stages/acquire.py

Writes ``data/raw/`` with its ``manifest.csv``, whole or not at all.
"""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cilp import params
from cilp.console import cli
from cilp.errors import UserError
from cilp.raw import hub, kaggle
from cilp.raw.folder import SKIPPED, FolderParams, import_tree
from cilp.raw.layout import INDICES, Pair, write_manifest
from cilp.raw.simulate import MOST_SCENES, simulate
from cilp.simulation.scenes import SimulateParams

TARGET = Path("data/raw")
Fill = Callable[[Path], list[Pair]]
"""Writes pairs in the raw layout into an empty folder."""


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    source = params.choice(settings, "data.source", tuple(SOURCES))
    # only for an early word: `subset` checks the same when it draws
    most = MOST_SCENES if source == "simulate" else INDICES
    asked = sum(params.whole(settings, key, 1, most) for key in ("data.subset", "data.test"))
    fill = SOURCES[source](settings, asked)

    TARGET.with_name(SKIPPED).unlink(missing_ok=True)  # of an earlier run that failed
    building = TARGET.with_name(f".{TARGET.name}.tmp")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        pairs = fill(building)
        write_manifest(building, pairs)
        shutil.rmtree(TARGET, ignore_errors=True)
        building.rename(TARGET)
    except UserError as error:
        raise UserError(keep_report(building, str(error))) from None
    finally:
        shutil.rmtree(building, ignore_errors=True)
    print(f"{TARGET}: {len(pairs):,} pairs of image and range image from {source}")


def keep_report(building: Path, message: str) -> str:
    """Move the list of what was skipped out of a folder that is about to go; the message, naming its new place."""
    report, kept = building / SKIPPED, TARGET.with_name(SKIPPED)
    if report.is_file():
        report.replace(kept)
    return message.replace(str(report), str(kept))


def from_simulator(settings: dict[str, Any], asked: int) -> Fill:
    scenes = params.whole(settings, "data.scenes", 1, MOST_SCENES)
    if scenes < asked:
        raise UserError(
            f"data.scenes is {scenes}, but data.subset and data.test ask for {asked}; raise it or lower them."
        )
    simulation = params.section(settings, "data.simulate", SimulateParams)
    return lambda root: simulate(root, scenes, simulation)


def from_folder(settings: dict[str, Any], asked: int) -> Fill:
    tree = params.section(settings, "data.folder", FolderParams).source()
    return lambda root: import_tree(tree, root, asked)[0]


def from_kaggle(settings: dict[str, Any], asked: int) -> Fill:
    tree = kaggle.fetch(params.section(settings, "data.kaggle", kaggle.KaggleParams))
    return lambda root: import_tree(tree, root, asked, "data.kaggle")[0]


def from_hub(settings: dict[str, Any], asked: int) -> Fill:
    wanted = params.section(settings, "data.hub", hub.HubParams)
    folder, commit = hub.fetch(wanted)
    return lambda root: hub.import_export(folder, root, wanted, commit)[0]


SOURCES = {"simulate": from_simulator, "folder": from_folder, "kaggle": from_kaggle, "hub": from_hub}


if __name__ == "__main__":
    cli.run(main)
