"""What classifiers reach with how many labels, with and without pretraining."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from cilp.atomic import write_text
from cilp.errors import UserError
from cilp.training.seeds import mean_and_spread, write_once


@dataclass(frozen=True)
class Reached:
    """One training on ``scenes`` labelled scenes, a cube and a sphere each; accuracy on the whole test set or, of
    random size, on scenes rendered for it."""

    model: str
    way: str
    """``scratch``: without CILP; ``supervised``: without it, but as long and varied alike; ``pretrained``: with it;
    ``head``: a head on CILP's image embedding alone."""
    scenes: int
    seed: int
    test_accuracy: float


def write_reached(path: Path, rows: Iterable[Reached]) -> None:
    """Write a CSV, a row a training; without any, its header alone."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(Reached)])
    writer.writerows(map(astuple, rows))
    write_once(write_text, path, text.getvalue())


def read_reached(path: Path) -> list[Reached]:
    """Read what ``write_reached`` wrote.

    Raises:
        UserError: the file is missing.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [
                Reached(row["model"], row["way"], int(row["scenes"]), int(row["seed"]), float(row["test_accuracy"]))
                for row in csv.DictReader(file)
            ]  # fmt: skip
    except FileNotFoundError:
        stage = f"data_efficiency_{path.stem.replace('-', '@')}"
        raise UserError(f"{path} is missing; run `dvc repro {stage}` to write it.") from None


def curves(rows: Iterable[Reached]) -> dict[str, dict[str, dict[int, dict[str, float]]]]:
    """By model, way and number of scenes: mean accuracy and spread over the seeds."""
    found: dict = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in rows:
        found[row.model][row.way][row.scenes].append(row.test_accuracy)
    return {
        model: {
            way: {count: mean_and_spread(values, "test_accuracy") for count, values in sorted(counts.items())}
            for way, counts in ways.items()
        }
        for model, ways in found.items()
    }
