"""Several seeds of one variant: mean and spread, and the files that hold them, written by the leading process alone."""

import csv
import io
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cilp.atomic import write_json, write_text
from cilp.errors import UserError


def check_seeds(seeds: Any) -> list[int]:
    """``seeds`` as given, if it is a non-empty list of distinct whole numbers that a generator takes."""
    whole = isinstance(seeds, list) and all(isinstance(s, int) and not isinstance(s, bool) for s in seeds)
    if not whole or not seeds or len(set(seeds)) != len(seeds) or not all(0 <= s < 2**32 for s in seeds):
        raise UserError(
            f"seeds must be a list of one or more different whole numbers from 0 to 2**32 - 1; got {seeds!r}."
        )
    return seeds


def mean_and_spread(values: Sequence[float], key: str) -> dict[str, float]:
    """``{key: mean, key_std: sample standard deviation}``; one value alone has no spread, hence no ``key_std``."""
    summary = {key: statistics.fmean(values)}
    if len(values) > 1:
        summary[f"{key}_std"] = statistics.stdev(values)
    return summary


def summarise(per_seed: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
    """Mean and spread over the seeds of every figure that they report."""
    keys = next(iter(per_seed.values())).keys()
    return {
        name: value
        for key in keys
        for name, value in mean_and_spread([figures[key] for figures in per_seed.values()], key).items()
    }


def write_metrics(path: Path, per_seed: Mapping[int, Mapping[str, float]], **constants: float) -> None:
    """Reproducible figures as JSON: mean and spread over the seeds, ``constants``, and how many ``seeds`` there are."""
    write_once(write_json, path, {**summarise(per_seed), **constants, "seeds": len(per_seed)})


def write_cost(path: Path, per_seed: Mapping[int, Mapping[str, float]], **provenance: Any) -> None:
    """Measured figures as JSON: mean and spread, what each seed took, and where and on what they were measured."""
    from cilp.training.distributed import world

    each = {str(seed): dict(figures) for seed, figures in per_seed.items()}
    write_once(write_json, path, {**summarise(per_seed), "per_seed": each, **provenance, "processes": world().size})


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows of equal keys as CSV, numbers in full precision."""
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_once(write_text, path, text.getvalue())


def write_once(write: Callable[[Path, Any], None], path: Path, content: Any) -> None:
    """``write(path, content)``, by the leading process alone."""
    from cilp.training.distributed import world  # PyTorch: those that read what is written here do without

    if world().leads:
        write(path, content)
