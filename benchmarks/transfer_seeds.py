"""What holds CILP back where size tells nothing: image classifiers with and without it, over several seeds.

    PYTHONPATH=src python benchmarks/transfer_seeds.py

Needs ``data/random_size.pt`` (``dvc repro pack_random_size``). Trains ``CLASSIFIERS`` on scenes in which size tells
nothing of the shape, and tests them on the scenes of ``more_seeds.py``. Writes what each says of each test scene to
``docs/transfer-seeds.json``, goes on from there when it is started again, and puts tables and picture of the seeds that
are complete into ``docs/transfer.md``; with ``--tables`` it trains nothing. With ``--twins``, asks each pretraining the
twin test with and without matched sizes (``docs/transfer-twins.json``); one that is not there is trained.
"""

import argparse
import itertools
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from more_seeds import table_by_seed
from more_seeds_figure import draw
from more_seeds_networks import TEST_SCENES, shares_right
from more_seeds_records import chosen
from run_records import begun, compared, complete, keep, read
from transfer_networks import APART, AS_THERE, BOTH, MATCHED, MORE, RESIZED, Networks, Scenes, twins

from cilp import params
from cilp.atomic import write_json, write_text
from cilp.console import cli
from cilp.errors import UserError
from cilp.report.docs import insert_tables
from cilp.report.significance import comparison_rows
from cilp.training.device import describe, prepare_device

SEEDS = range(51, 55)
RESULTS, TWINS = Path("docs/transfer-seeds.json"), Path("docs/transfer-twins.json")
PAGE, FIGURE = Path("docs/transfer.md"), Path("docs/transfer-seeds.png")
TICKS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Of the picture: shares that are wrong."""
ROWS = {
    "lidar": "LiDAR classifier",
    "rgb2lidar": "RGB-to-LiDAR classifier",
    "rgb2lidar/more": "RGB-to-LiDAR, more pairs",
    "rgb2lidar/matched": "RGB-to-LiDAR, twins of matched size",
    "rgb2lidar/more_matched": "RGB-to-LiDAR, more pairs, twins of matched size",
    "rgb2lidar/more_apart": "RGB-to-LiDAR, more pairs, twins apart",
    "rgb2lidar/more_resized": "RGB-to-LiDAR, more pairs, views resized",
    "rgb2lidar/more_matched/untrained": "RGB-to-LiDAR, untrained head",
    "rgb2lidar/more_matched/distance": "RGB-to-LiDAR, by distance alone",
    "image_distilled": "image classifier, distilled",
    "image_distilled/more": "distilled, more pairs",
    "image_supervised": "image classifier, supervised",
}
"""What the classifiers are called, but for their LiDAR classifier."""
CLASSIFIERS = [
    "lidar", "lidar/course",
    *(f"rgb2lidar{way}{end}" for way in ("", "/more", "/matched", "/more_matched") for end in ("", "/course")),
    "rgb2lidar/more_apart", "rgb2lidar/more_resized", "image_supervised", "image_distilled", "image_distilled/course",
    "image_distilled/more/course",
    *(f"rgb2lidar/more_matched/{way}" for way in ("untrained", "distance", "distance/course")),
]  # fmt: skip
COMPARED = [
    ("rgb2lidar", "rgb2lidar/course"),
    ("rgb2lidar", "rgb2lidar/more"),
    ("rgb2lidar/course", "rgb2lidar/more/course"),
    ("rgb2lidar", "rgb2lidar/matched"),
    ("rgb2lidar/more", "rgb2lidar/matched"),
    ("rgb2lidar/more", "rgb2lidar/more/course"),
    ("rgb2lidar/matched", "rgb2lidar/matched/course"),
    ("rgb2lidar/matched/course", "image_supervised"),
    ("rgb2lidar", "image_supervised"),
    ("rgb2lidar", "image_distilled"),
    ("rgb2lidar/more/course", "image_supervised"),
    ("rgb2lidar/more/course", "image_distilled/more/course"),
    ("image_distilled", "image_supervised"),
    ("image_distilled", "image_distilled/course"),
    ("image_distilled/course", "image_distilled/more/course"),
    ("image_distilled/more/course", "image_supervised"),
    ("lidar", "lidar/course"),
    ("lidar", "rgb2lidar"),
    ("lidar/course", "rgb2lidar/more/course"),
    ("rgb2lidar/more", "rgb2lidar/more_matched"),
    ("rgb2lidar/matched", "rgb2lidar/more_matched"),
    ("rgb2lidar/more_matched/course", "image_supervised"),
    ("rgb2lidar/more_matched/course", "image_distilled/more/course"),
]
"""What is asked; each difference is of the second to the first."""
COMPARED_LATER = [
    ("rgb2lidar/more", "rgb2lidar/more_apart"),
    ("rgb2lidar/more_matched", "rgb2lidar/more_apart"),
    ("rgb2lidar/more", "rgb2lidar/more_resized"),
    ("rgb2lidar/more_matched", "rgb2lidar/more_resized"),
    ("rgb2lidar/more_resized", "image_supervised"),
]
"""What was asked when all those were known: a table of its own, for which p-values are corrected by themselves."""
COMPARED_BRIDGE = [
    ("rgb2lidar/more_matched", "rgb2lidar/more_matched/untrained"),
    ("rgb2lidar/more_matched", "rgb2lidar/more_matched/distance"),
    ("rgb2lidar/more_matched/course", "rgb2lidar/more_matched/distance/course"),
    ("lidar", "rgb2lidar/more_matched/distance"),
    ("lidar/course", "rgb2lidar/more_matched/distance/course"),
]
"""What was asked last: what the LiDAR classifier has to do with it. Again a table of its own."""
PRETRAINED = {
    AS_THERE: "3,200 pairs", MORE: "more pairs", MATCHED: "3,200 pairs, twins of matched size",
    BOTH: "more pairs, twins of matched size", APART: "more pairs, twins apart",
    RESIZED: "more pairs, views resized",
}  # fmt: skip
"""What the pretrainings are called."""
DECIDES = {
    "data": (), "embedder": (), "lidar": (), "cilp": (), "image_classifier": (), "projector": (), "rgb2lidar": (),
    "random_size": ("train", "valid", "cilp_steps", "simulate"), "significance": (),
}  # fmt: skip
"""Sections of ``params.yaml`` that decide what a run gives and how it is judged; of one, only what is named."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--twins", action="store_true", help="the twin test of each pretraining")
    parser.add_argument("--tables", action="store_true", help="tables and picture alone")
    arguments = parser.parse_args()
    if arguments.tables:
        document(read(RESULTS))
        return
    settings = params.load()
    device = prepare_device(params.lookup(settings, "device"))
    head: dict[str, Any] = {
        **describe(device), **chosen(settings, DECIDES), "test_scenes": TEST_SCENES,
        "further_scenes": settings["random_size"]["pretraining"]["unlabelled"],
    }  # fmt: skip
    found = begun(RESULTS, head, "right", CLASSIFIERS)
    todo = [run for run in itertools.product(SEEDS, CLASSIFIERS) if str(run[0]) not in found["right"][run[1]]]
    scenes = Scenes.of(settings, device) if todo or arguments.twins else None
    for seed, name in todo:
        logits = Networks(seed, settings, scenes).logits(name)
        keep(RESULTS, found, name, seed, shares_right(logits, scenes.test))
    if arguments.twins:
        pairs = twins(settings, device)
        asked = {
            way: {
                str(seed): {kind: Networks(seed, settings, scenes).twin_accuracy(way, of) for kind, of in pairs.items()}
                for seed in SEEDS
            }
            for way in PRETRAINED
        }
        write_json(TWINS, {**head, "twin_accuracy": asked})
    document(found)


def document(found: dict[str, Any]) -> None:
    """Put tables and picture into their places."""
    write_text(PAGE, insert_tables(PAGE.read_text(encoding="utf-8"), tables(found)))
    draw(FIGURE, series(found), TICKS)


def tables(found: dict[str, Any]) -> dict[str, str]:
    """Markdown by the name of its place, each with a heading that is left out there."""
    made = {"transfer_seeds": table_by_seed(found, called)}
    for name, asked in (
        ("transfer_comparisons", COMPARED), ("transfer_later", COMPARED_LATER), ("transfer_bridge", COMPARED_BRIDGE),
    ):  # fmt: skip
        rows = comparison_rows(compared(found, asked), found["significance"]["confidence"], called)
        made[name] = "\n".join([*rows, ""])
    if TWINS.is_file():
        asked_twins = read(TWINS)
        accuracy = asked_twins.pop("twin_accuracy")
        if asked_twins != {name: value for name, value in found.items() if name != "right"}:
            raise UserError(f"{TWINS} is of other pretrainings than {RESULTS}; make it anew with --twins.")
        made["transfer_twins"] = of_twins(accuracy)
    return {name: f"# title\n\n{table}" for name, table in made.items()}


def of_twins(accuracy: dict[str, dict[str, dict[str, float]]]) -> str:
    """Means and spreads over the seeds, of each pretraining and kind of twins."""
    lines = ["| pretrained | twins as they are | twins of matched size |", "| --- | --- | --- |"]
    for way, runs in accuracy.items():
        columns = [[run[kind] for run in runs.values()] for kind in (AS_THERE, MATCHED)]
        cells = [f"{statistics.fmean(column):.4f} ± {statistics.stdev(column):.4f}" for column in columns]
        lines.append(f"| {PRETRAINED[way]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def called(name: str) -> str:
    """The title of a classifier."""
    kind = name.removesuffix("/course")
    if kind == name:
        return ROWS[kind]
    part = {"lidar": "on the course", "rgb2lidar": "head from the course"}.get(
        kind.split("/")[0], "teacher from the course"
    )
    return f"{ROWS[kind]}, {part}"


def series(found: dict[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """What the picture tells apart: which LiDAR classifier is behind it, if any."""
    accuracy = complete(found)
    behind = {"LiDAR: reference protocol": "", "LiDAR: CILP's course": "/course"}
    groups = {
        words: {ROWS[row]: accuracy[row + end] for row in ROWS if row + end in accuracy and row != "image_supervised"}
        for words, end in behind.items()
    }
    return {**groups, "labels alone": {ROWS[row]: accuracy[row] for row in accuracy if row == "image_supervised"}}


if __name__ == "__main__":
    cli.run(main)
