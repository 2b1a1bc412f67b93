"""What two runs of a stage wrote, held against each other: every byte, or figure by figure within a tolerance."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SHARES = ("accuracy", "recall", "cosine", "sensor_failures")
"""In the name of a figure, or of the file that holds nothing else: a share of 1."""
ABSOLUTE, RELATIVE, SPREADS = 0.02, 0.25, 3.0
FIGURES = (".json", ".csv")
COUNTED = ", samples"
"""Column of how many samples a model calls what: whole numbers that follow from its accuracy."""


@dataclass(frozen=True)
class Difference:
    """One figure, or one file as a whole, that did not come out as committed."""

    file: str
    key: str
    committed: Any
    now: Any

    def row(self) -> tuple[str, str, str, str, str]:
        """What the table shows: file, key, both values and their difference."""
        both = [value for value in (self.committed, self.now) if _is_number(value)]
        change = f"{self.now - self.committed:+.3g}" if len(both) == 2 else ""
        return self.file, self.key, str(self.committed), str(self.now), change


def compare(before: Mapping[str, bytes], after: Mapping[str, bytes], exact: bool) -> Iterator[Difference]:
    """What differs between two sets of outputs: in any byte, or beyond the tolerance."""
    for path in dict.fromkeys((*before, *after)):
        old, new = before.get(path), after.get(path)
        if old is None or new is None:
            yield Difference(path, "(file)", *("missing" if content is None else "there" for content in (old, new)))
        elif old == new:
            continue
        elif holds_figures(path):
            try:
                both = figures(path, old), figures(path, new)
            except ValueError:  # what is committed is no JSON any more
                yield Difference(path, "(content)", _brief(old), _brief(new))
            else:
                yield from _compare_figures(path, *both, exact)
        elif exact:
            yield Difference(path, "(content)", _brief(old), _brief(new))


def holds_figures(path: str) -> bool:
    """Whether it is read figure by figure; of what lies in DVC's cache, the hash alone is known."""
    return path.startswith(("metrics/", "plots/")) and path.endswith(FIGURES)


def _brief(content: bytes) -> str:
    """The beginning of a hash, or how long other content is."""
    if re.fullmatch(rb"[0-9a-f]{32}(\.dir)?", content):
        return content[:8].decode()
    return f"{len(content):,} bytes"


def _compare_figures(path: str, old: dict, new: dict, exact: bool) -> Iterator[Difference]:
    keys = list(dict.fromkeys((*old, *new)))
    found = False
    for key in keys:
        committed, now = old.get(key, "-"), new.get(key, "-")
        equal = committed == now and type(committed) is type(now)
        if not equal and (exact or not _tolerated(path, key, committed, now, old)):
            found = True
            yield Difference(path, key, committed, now)
    if exact and not found:
        yield Difference(path, "(layout)", "other bytes", "of the same figures")


def _tolerated(path: str, key: str, committed: Any, now: Any, old: Mapping[str, Any]) -> bool:
    """Whether another machine may write ``now`` where ``committed`` stands."""
    if path.endswith(".csv") and key.endswith(COUNTED):
        return _is_number(committed) and _is_number(now)
    if not (isinstance(committed, float) and isinstance(now, float)):
        return False
    if path.endswith(".csv") or key.endswith("_std"):
        return True
    spread = old.get(f"{key}_std", 0.0)
    relative = 0.0 if any(share in f"{path}:{key}" for share in SHARES) else RELATIVE * abs(committed)
    return abs(now - committed) <= max(ABSOLUTE, relative, SPREADS * spread)


def figures(path: str, content: bytes) -> dict[str, Any]:
    """Every figure of a JSON or CSV file by its key: dotted, or row and column."""
    text = content.decode()
    if path.endswith(".json"):
        return dict(_flat(json.loads(text)))
    rows = list(csv.DictReader(io.StringIO(text)))
    return {f"row {i}, {name}": _number(cell) for i, row in enumerate(rows, 1) for name, cell in row.items()}


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _flat(item, f"{key}.{name}" if key else name)
    else:
        yield key, value


def _number(cell: str) -> Any:
    for kind in (int, float):
        try:
            return kind(cell)
        except (ValueError, TypeError):
            continue
    return cell


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def table(differences: Sequence[Difference], most: int = 60) -> str:
    """The differences in aligned columns, ``most`` of them at most."""
    rows = [("file", "key", "committed", "now", "difference"), *(one.row() for one in differences[:most])]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    more = len(differences) - most
    return "\n".join(lines + ([f"and {more} more"] if more > 0 else []))
