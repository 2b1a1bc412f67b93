"""What the training stages wrote about the declared fusion variants: reproducible figures and measured cost."""

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cilp.errors import UserError


@dataclass(frozen=True)
class Variant:
    """One fusion in one downsampling, over all of its seeds."""

    fusion: str
    downsampling: str
    metrics: dict[str, float]  # mean and `_std` over the seeds
    per_seed: dict[int, dict[str, float]]
    cost: dict[str, Any]


def read_variants(fusions: Iterable[str], downsampling: str, root: Path = Path()) -> list[Variant]:
    """Read exactly the asked variants; files of others, left over from a wider study, are not looked at.

    Raises:
        UserError: a declared variant has no results yet.
    """
    return [_read(root, fusion, downsampling) for fusion in fusions]


def _read(root: Path, fusion: str, downsampling: str) -> Variant:
    name = f"{fusion}-{downsampling}"
    try:
        metrics = json.loads((root / f"metrics/fusion/{name}.json").read_text(encoding="utf-8"))
        cost = json.loads((root / f"costs/fusion/{name}.json").read_text(encoding="utf-8"))
        with open(root / f"metrics/fusion/{name}.csv", newline="", encoding="utf-8") as file:
            per_seed = {
                int(row.pop("seed")): {key: float(value) for key, value in row.items()} for row in csv.DictReader(file)
            }
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing; run `dvc repro train_fusion@{name}` to train it.") from None
    return Variant(fusion, downsampling, metrics, per_seed, cost)
