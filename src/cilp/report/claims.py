"""Claims that a sentence rests on, written beside it as ``<!-- holds: CLAIM -->`` and held against ``metrics/``.

- ``fusion/add-maxpool > fusion/late-maxpool``: the first is better, beyond noise (``metrics/significance.json``).
- ``fusion/add-maxpool ~ fusion/late-maxpool``: the difference is within noise.
- ``rgb2lidar:test_accuracy > 0.95``, or with ``>=``, ``<`` or ``<=``: a figure of ``metrics/rgb2lidar.json``; further
  keys after colons.

``fusion/{add,late}-maxpool ~ fusion/early-maxpool`` is two claims, one for each name in braces; where the same braces
stand again in a claim, they are the same name. What rests on another record than ``metrics/`` says another word instead
of ``holds``; tests in ``tests/benchmarks`` hold it against that.
"""

import itertools
import json
import operator
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cilp.errors import UserError

CLAIM = re.compile(r"<!-- ([\w ]+): (.*?) -->")
NAMES = re.compile(r"\{([^{}]*)\}")
ORDERS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


class Figures:
    """The reproducible figures below ``metrics/``, read when they are first asked for."""

    def __init__(self, root: Path):
        self.root = root
        self.files: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """The content of ``metrics/<name>.json``; ``UserError`` if it is missing."""
        if name not in self.files:
            path = self.root / f"{name}.json"
            try:
                self.files[name] = json.loads(path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                raise UserError(f"{path} is missing; run `dvc repro` to write it.") from None
        return self.files[name]

    def comparison(self, first: str, second: str) -> dict[str, Any]:
        """``difference`` of ``first`` minus ``second``, from ``low`` to ``high``, and whether it is ``noise``."""
        for entry in self["significance"]["comparisons"]:
            known = {"noise": entry["within_noise"]}
            if (entry["second"], entry["first"]) == (first, second):
                return {"difference": entry["difference"], "low": entry["low"], "high": entry["high"], **known}
            if (entry["first"], entry["second"]) == (first, second):
                return {"difference": -entry["difference"], "low": -entry["high"], "high": -entry["low"], **known}
        raise UserError(
            f"{self.root / 'significance.json'} does not compare {first} with {second}; name two that it does."
        )


def claims_of(text: str, kind: str = "holds") -> list[str]:
    """Every claim in a text, in order, spelled out; another ``kind`` is written instead of ``holds``."""
    return [claim for word, written in CLAIM.findall(text) if word == kind for claim in _spelled_out(written)]


def _spelled_out(claim: str) -> Iterator[str]:
    braces = list(dict.fromkeys(NAMES.findall(claim)))
    for names in itertools.product(*(names.split(",") for names in braces)):
        chosen = dict(zip(braces, names, strict=True))
        yield NAMES.sub(lambda match, chosen=chosen: chosen[match[1]], claim)


def holds(claim: str, figures: Figures) -> bool:
    """Whether a claim follows from the figures.

    Raises:
        ValueError: it is no claim.
        UserError: what it speaks of is not in the figures.
    """
    match claim.split():
        case [left, (">" | ">=" | "<" | "<=") as order, right] if ":" in left:
            return ORDERS[order](figure(left, figures), float(right))
        case [left, ">", right]:
            found = figures.comparison(left, right)
            return found["difference"] > 0 and not found["noise"]
        case [left, "~", right]:
            return bool(figures.comparison(left, right)["noise"])
    raise ValueError(f"{claim!r} is no claim")


def figure(path: str, figures: Figures) -> float:
    """What a path such as ``rgb2lidar:test_accuracy`` leads to; ``UserError`` if there is nothing."""
    name, *keys = path.split(":")
    value = figures[name]
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            raise UserError(f"{figures.root / name}.json has no {key} there; correct the claim, or drop it.")
        value = value[key]
    if isinstance(value, dict):
        raise UserError(f"{path} is no figure but holds {', '.join(value)}; name one of them.")
    if not isinstance(value, int | float):
        raise UserError(f"{path} is no figure but a {type(value).__name__}; name one.")
    return float(value)
