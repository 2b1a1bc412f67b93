"""Tables for README.md: what the study finds, and what fusions learn and go by where size tells nothing of the shape.

    PYTHONPATH=src python benchmarks/readme_tables.py

Reads the records of ``more_seeds.py`` and ``course_cues.py`` in ``docs/``; trains nothing.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from statistics import fmean

from course_cues import COURSE, MORE_OF_COURSE, REPLICATION
from more_seeds import recorded
from more_seeds_networks import AUXILIARY, WITH_LOSSES
from run_records import complete

from cilp.atomic import write_text
from cilp.console import cli
from cilp.errors import UserError
from cilp.evaluation.models import BASELINES, DECISION
from cilp.report.docs import insert_tables
from cilp.report.titles import TITLES

PAGE = Path("README.md")
FUSIONS = (*BASELINES, "early", "late", "concat", "add", "hadamard", DECISION)
Row = Mapping[str, tuple[float, int]]
"""By fusion, with max-pooling: mean share over the seeds, and how many these are."""


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    write_text(PAGE, insert_tables(PAGE.read_text(encoding="utf-8"), tables()))


def tables() -> dict[str, str]:
    """By their place on the page."""
    return {
        "summary": markdown("accuracy, % (max-pooling)", summary()),
        "random_sizes": markdown("accuracy, % (max-pooling)", of_random_sizes()),
        "disagree": ranges("CILP's course, max-pooling", "by the image, %", asked_again("conflict")),
    }


def summary() -> dict[str, Row]:
    """The main settings, one row each."""
    return {
        "default scenes, reference protocol": tested("study"),
        "random-size scenes, reference protocol": tested("half_rate"),
        "random-size scenes, CILP's course": tested("course"),
    }


def of_random_sizes() -> dict[str, Row]:
    """The trainings on random sizes that differ in how they train or from what seeds, on held-out scenes of random size
    and, without light, of default size; not those at the full learning rate or on registered grids."""
    rows = {
        "reference protocol, half the learning rate": tested("half_rate"),
        "the same with a loss for each sensor": tested("half_rate", {**WITH_LOSSES, AUXILIARY: DECISION}),
        "CILP's course": tested("course"),
        "CILP's course, other seeds": tested("course_more"),
        "CILP's course, replication": tested("replication"),
        "CILP's course with a loss for each sensor": tested("course_auxiliary"),
    }
    dark = {
        "CILP's course": asked(COURSE.results, "dark"),
        "CILP's course, other seeds": asked(MORE_OF_COURSE.results, "dark"),
        "CILP's course, replication": asked(REPLICATION.results, "dark"),
        "CILP's course with a loss for each sensor": asked(COURSE.results, "dark", "-auxiliary"),
    }
    return rows | {f"in the dark: {name}": row for name, row in dark.items()}


def markdown(corner: str, rows: Mapping[str, Row]) -> str:
    """A table under a title that is left out where it is put."""
    head = [corner, "seeds", *(TITLES.get(fusion, fusion) for fusion in FUSIONS)]
    lines = ["# title", "", f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    return "\n".join([*lines, *(line(name, row) for name, row in rows.items()), ""])


def ranges(corner: str, what: str, found: Mapping[str, Sequence[float]]) -> str:
    """A table of means, each with the least and the most of its runs, under a title that is left out there."""
    runs = {fusion: found[fusion] for fusion in FUSIONS if found.get(fusion)}
    head = [corner, *(TITLES.get(fusion, fusion) for fusion in runs)]
    cells = [f"{percent(fmean(of))} ({percent(min(of))} to {percent(max(of))})" for of in runs.values()]
    lines = ["# title", "", f"| {' | '.join(head)} |", "| --- " * len(head) + "|", f"| {what} | {' | '.join(cells)} |"]
    return "\n".join([*lines, f"| runs | {' | '.join(str(len(of)) for of in runs.values())} |", ""])


def line(name: str, row: Row) -> str:
    """One row, in percent; of a fusion that was not trained so, a dash."""
    seeds, *others = sorted({count for _, count in row.values()})
    if others:
        raise UserError(f"{name}: of some networks {seeds} seeds are recorded, of others {others[0]}; train the rest.")
    cells = [percent(row[fusion][0]) if fusion in row else "-" for fusion in FUSIONS]
    return f"| {name} | {seeds} | {' | '.join(cells)} |"


def percent(share: float) -> str:
    """To one decimal, halves up: a mean over seeds often is one, which binary floats have a little above or below."""
    return str(Decimal(f"{100 * share:.6f}").quantize(Decimal("0.1"), ROUND_HALF_UP))


def tested(scenes: str, called: Mapping[str, str] | None = None) -> Row:
    """On the held-out scenes; ``called``: names there, by which each of some fusions is called here."""
    accuracy = complete(recorded(scenes))
    names = called or {fusion: fusion for fusion in FUSIONS}
    found = {fusion: accuracy.get(f"fusion/{name}-maxpool") for name, fusion in names.items()}
    return {fusion: (float(of.mean()), len(of)) for fusion, of in found.items() if of is not None}


def asked_again(condition: str) -> dict[str, list[float]]:
    """By fusion that took CILP's course, on the audit's scenes of a condition: each run, on whatever scenes it was
    trained."""
    found: dict[str, list[float]] = {fusion: [] for fusion in FUSIONS}
    for cues in (COURSE, MORE_OF_COURSE, REPLICATION):
        runs = json.loads(cues.results.read_text(encoding="utf-8"))["accuracy"]
        for fusion, of in found.items():
            of += [run[condition] for run in runs.get(f"fusion/{fusion}-maxpool", {}).values()]
    return found


def asked(results: Path, condition: str, ending: str = "") -> Row:
    """On the audit's scenes of a condition; ``ending``: of the names there."""
    runs = json.loads(results.read_text(encoding="utf-8"))["accuracy"]
    found = {fusion: runs.get(f"fusion/{fusion}-maxpool{ending}") for fusion in FUSIONS}
    return {fusion: (fmean(run[condition] for run in of.values()), len(of)) for fusion, of in found.items() if of}


if __name__ == "__main__":
    cli.run(main)
