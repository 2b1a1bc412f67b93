"""One table of all that was trained on scenes in which size tells nothing of the shape, for README.md.

    PYTHONPATH=src python benchmarks/random_sizes.py

Reads the records of ``more_seeds.py`` and ``course_cues.py`` in ``docs/``; trains nothing.
"""

import json
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from statistics import fmean

from course_cues import COURSE, MORE_OF_COURSE, REPLICATION
from more_seeds import complete, recorded
from more_seeds_networks import WITH_LOSSES

from cilp.atomic import write_text
from cilp.evaluation.models import BASELINES, DECISION
from cilp.report.docs import insert_tables
from cilp.report.titles import TITLES

PAGE = Path("README.md")
FUSIONS = (*BASELINES, "early", "late", "concat", "add", "hadamard", DECISION)
Row = Mapping[str, tuple[float, int]]
"""By fusion, with max-pooling: mean accuracy over the seeds, and how many these are."""


def main() -> None:
    write_text(PAGE, insert_tables(PAGE.read_text(encoding="utf-8"), {"random_sizes": table()}))


def table() -> str:
    """Markdown under a title that is left out where it is put; accuracies in percent."""
    rows = {
        "reference protocol, half the learning rate": tested("half_rate"),
        "the same with a loss for each sensor": tested("half_rate", WITH_LOSSES),
        "CILP's course": tested("course"),
        "CILP's course, other seeds": tested("course_more"),
        "CILP's course, replication": tested("replication"),
        "CILP's course with a loss for each sensor": tested("course_auxiliary"),
    }
    dark = {
        "CILP's course": asked(COURSE.results),
        "CILP's course, other seeds": asked(MORE_OF_COURSE.results),
        "CILP's course, replication": asked(REPLICATION.results),
        "CILP's course with a loss for each sensor": asked(COURSE.results, "-auxiliary"),
    }
    head = ["accuracy, % (max-pooling)", "seeds", *(TITLES.get(fusion, fusion) for fusion in FUSIONS)]
    lines = ["# title", "", f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    lines += [line(name, row) for name, row in rows.items()]
    lines += [line(f"in the dark: {name}", row) for name, row in dark.items()]
    return "\n".join([*lines, ""])


def line(name: str, row: Row) -> str:
    """One row; of a fusion that was not trained so, a dash."""
    (seeds,) = {count for _, count in row.values()}
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


def asked(results: Path, ending: str = "") -> Row:
    """Where there is no light, hence no image."""
    runs = json.loads(results.read_text(encoding="utf-8"))["accuracy"]
    found = {fusion: runs.get(f"fusion/{fusion}-maxpool{ending}") for fusion in FUSIONS}
    return {fusion: (fmean(run["dark"] for run in of.values()), len(of)) for fusion, of in found.items() if of}


if __name__ == "__main__":
    main()
