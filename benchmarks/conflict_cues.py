"""Which sensor the fusions of ``course_cues.py`` go by where the two disagree: by class, and where size does not.

    PYTHONPATH=src python benchmarks/conflict_cues.py

Asks the networks of ``more_seeds.py --record replication`` and ``--record course_more`` with max-pooling; what is not
there is trained. Each image is given the range image of the other shape of its scene: in scenes of one size a class,
as the audit does, and in scenes of random size whose two objects are equally large, so that the sensors disagree in the
shape alone. Writes by network, seed and scenes how many go by the image to ``docs/conflict-cues.json``, and a table
into ``docs/cilp-course.md``; with ``--tables`` the table alone.
"""

import argparse
import statistics
from collections.abc import Iterable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from course_cues import MORE_OF_COURSE, REPLICATION, Cues, check_made_by, trained
from more_seeds_course import network, of_another_seed, scenes
from run_records import read

from cilp import params
from cilp.atomic import write_json, write_text
from cilp.console import cli
from cilp.console.progress import track
from cilp.cores import available_cores
from cilp.evaluation.audit import FIRST_SCENE, Audited, audit, conditions, rendered, scenes_of
from cilp.evaluation.predictions import probabilities
from cilp.packing import pack_scenes
from cilp.report.docs import insert_tables
from cilp.report.titles import title
from cilp.simulation.processes import rendering
from cilp.simulation.varied import of_random_size
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import Split, load_split

RESULTS, PAGE = Path("docs/conflict-cues.json"), Path("docs/cilp-course.md")
ASKED: tuple[Cues, ...] = (REPLICATION, MORE_OF_COURSE)
SIZED, EQUAL, AGREE = "one size a class", "equally large", "equally large, sensors agree"
"""Scenes: where the sensors disagree, in size too or in the shape alone; and the latter with each object's own view."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", action="store_true", help="the table alone")
    if parser.parse_args().tables:
        document(read(RESULTS))
        return
    settings = params.load()
    device = prepare_device(params.lookup(settings, "device"))
    found: dict[str, Any] = {}
    for cues in ASKED:
        made_by = check_made_by(cues, settings, device)
        there, split = of_another_seed(settings, cues.further), scenes(settings, device, cues.further)
        asked, runs = disagreeing(there, device), {}
        for name, seed in track(trained(cues, ""), "audit", unit="models"):
            model = network(name, int(seed), settings, *split).eval()
            runs.setdefault(name, {})[seed] = {
                condition: asdict(audit(probabilities(model, pairs), pairs)) for condition, pairs in asked.items()
            }
        found[cues.name] = {**made_by, "goes_by_image": runs}
    result = {**describe(device), "scenes": scenes_of(settings), "records": found}
    write_json(RESULTS, result)
    document(result)


def disagreeing(settings: dict[str, Any], device: torch.device) -> dict[str, Split]:
    """``SIZED``, ``EQUAL`` and ``AGREE``, as many scenes of each as the audit has."""
    count = scenes_of(settings)
    sized = conditions(settings)["conflict"]
    numbers = range(FIRST_SCENE, FIRST_SCENE + count)
    matched = partial(rendering, of_random_size(settings), matched_twins=True)
    own = load_split(pack_scenes({"test": numbers}, matched), "test", device)
    return {
        SIZED: rendered(sized.simulate, count, available_cores(), device, sized.lidar),
        EQUAL: exchanged(own),
        AGREE: own,
    }


def exchanged(split: Split) -> Split:
    """Each image beside the range image of the other object of its scene; scenes are of two, one behind the other."""
    pairs = split.scene.unflatten(0, (-1, 2))
    assert bool((pairs[:, 0] == pairs[:, 1]).all()) and bool((split.label.unflatten(0, (-1, 2)).sum(dim=1) == 1).all())
    return replace(split, range=split.range.unflatten(0, (-1, 2)).flip(1).flatten(0, 1))


def document(found: dict[str, Any]) -> None:
    """Put the table into its place."""
    write_text(PAGE, insert_tables(PAGE.read_text(encoding="utf-8"), {"conflict_cues": table(found)}))


def runs_of(found: dict[str, Any]) -> dict[str, list[dict[str, dict[str, float]]]]:
    """By network, every run of every record."""
    runs: dict[str, list[dict[str, dict[str, float]]]] = {}
    for record in found["records"].values():
        for name, of in record["goes_by_image"].items():
            runs.setdefault(name, []).extend(of.values())
    return runs


def table(found: dict[str, Any]) -> str:
    """By network, shares in percent over all of its runs, under a title that is left out where it is put."""
    shares = ("by the image", "by those of cubes", "by those of spheres")
    columns = [*(f"{scenes}: {of}" for scenes in (SIZED, EQUAL) for of in shares), f"right, {AGREE}"]
    lines = ["# title", "", f"| variant | runs | {' | '.join(columns)} |", f"| --- | --- {'| --- ' * len(columns)}|"]
    for name, runs in runs_of(found).items():
        cells = [
            percent(run[scenes][of] for run in runs)
            for scenes in (SIZED, EQUAL) for of in Audited.__dataclass_fields__
        ] + [percent(run[AGREE]["accuracy"] for run in runs)]  # fmt: skip
        lines.append(f"| {title(name)} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def percent(shares: Iterable[float]) -> str:
    """The mean, with the least and the most."""
    values = [100 * share for share in shares]
    return f"{statistics.fmean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    cli.run(main)
