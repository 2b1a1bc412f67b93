"""The table of the benchmark: its rows, how a ratio is measured, and the file that keeps them."""

import contextlib
import functools
import gc
import io
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from turns import Side

from cilp.atomic import write_json
from cilp.training.device import describe

REPEATS = 3


@dataclass(frozen=True)
class Row:
    """One line of the table: ``value`` in words, and the figures behind it."""

    what: str
    value: str
    aim: str
    figures: dict[str, float]


class Bench:
    """The rows as they come, on one device, and in a part of the file ``path`` if there is one to be written.

    On a ``side`` of two, both have the same rows, and ours prints them.
    """

    def __init__(self, device: torch.device, path: Path | None = None, side: Side | None = None):
        self.device, self.path, self.side = device, path, side
        self.rows: list[Row] = []

    def add(self, what: str, value: str, aim: str = "", **figures: float) -> None:
        """Print a row and keep it."""
        if self.side is None or self.side.name == "ours":
            print(f"| {what} | {value} | {aim} |", flush=True)
        self.keep([Row(what, value, aim, figures)])

    def keep(self, rows: list[Row]) -> None:
        """Add rows that are printed already."""
        self.rows += rows
        if self.path is not None:
            shown = [{"what": row.what, "measured": row.value, "to reach": row.aim, **row.figures} for row in self.rows]
            write_json(part_of(self.path), {**describe(self.device), "rows": shown})

    def finish(self) -> None:
        """All rows are there: the file is that of this run from now on."""
        part_of(self.path).replace(self.path)

    def ratio(
        self,
        what: str,
        ours: Callable[[], object],
        other: Callable[[], object],
        aim: str,
        repeats: int = REPEATS,
        share: float = 1.0,
        calls: int = 1,
        warm_up: tuple[Callable[[], object], Callable[[], object]] | None = None,
    ) -> float:
        """Add the row of how many times as long the other takes; they take turns, after one of each to warm up.

        ``share`` is how much of its work the other does here, where all of its work is alike; ``calls`` is how often
        ours runs in its turn, where once is too short to measure. ``warm_up`` has less to do, where it is no less warm.
        """
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        first = warm_up or (ours, other)
        for repeat in range(repeats + 1):
            for name, run, count in zip(times, (ours, other) if repeat else first, (calls, 1), strict=True):
                measure = functools.partial(self.seconds, run, count)
                seconds = self.in_turn(name, measure)
                if repeat:
                    times[name].append(seconds)
        ratios = [b / share / a for a, b in zip(times["ours"], times["theirs"], strict=True)]
        middle = statistics.median(ratios)
        self.add(
            what,
            f"{middle:,.1f}x ({min(ratios):,.1f} to {max(ratios):,.1f})",
            aim,
            ratio=middle,
            lowest=min(ratios),
            highest=max(ratios),
            our_seconds=statistics.median(times["ours"]),
        )
        return statistics.median(times["ours"])

    def in_turn(self, name: str, measure: Callable[[], float]) -> float:
        """What side ``name`` of two measures while the other waits; what is measured here if there is one alone."""
        return measure() if self.side is None else self.side.turn(name, measure)

    def seconds(self, run: Callable[[], object], calls: int = 1) -> float:
        """Wall time of a call, the mean of ``calls``, whatever they started on the device included."""
        gc.collect()
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):  # progress would tear the table apart
            for _ in range(calls):
                run()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / calls


def part_of(path: Path) -> Path:
    """Where results are that are not all there yet; those of the last whole run stay until they are."""
    return path.with_name(f"{path.name}.part")


def device_name(machine: dict[str, str]) -> str:
    """The device's name as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", machine["device"].lower()).strip("-")
