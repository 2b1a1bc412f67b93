"""Progress of long work: a bar on a terminal, a line every few seconds elsewhere."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

try:
    from tqdm import tqdm
except ImportError:  # a lean image trains without it
    tqdm = None

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 10.0


def track(items: Iterable[T], label: str, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Yield ``items`` while showing how many of ``total`` are done and at which rate."""
    bar = ProgressBar(label, total if total is not None else len(items), unit)  # type: ignore[arg-type]
    with bar:
        for item in items:
            yield item
            bar.advance()


class ProgressBar:
    """A tqdm bar on a terminal; without one (a log file, CI) a plain line at most every ten seconds and at the end."""

    def __init__(self, label: str, total: int, unit: str = "it", done: int = 0):
        self.label, self.total, self.unit = label, total, unit
        self.done, self.before, self.note = done, done, ""
        self.start = self.last_line = time.monotonic()
        interactive = tqdm is not None and sys.stderr.isatty() and os.environ.get("RANK", "0") == "0"
        self.bar = tqdm(desc=label, total=total, unit=unit, initial=done, dynamic_ncols=True) if interactive else None

    def advance(self, count: int = 1, note: str | None = None) -> None:
        """Count ``count`` more as done; ``note`` (such as "loss 0.31") stands behind the bar until it is replaced."""
        self.done += count
        if note is not None:
            self.note = note
        if self.bar is not None:
            if note is not None:
                self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(count)
        elif time.monotonic() - self.last_line >= SECONDS_BETWEEN_LINES and self.done < self.total:
            self._line()

    def _line(self) -> None:
        self.last_line = time.monotonic()
        rate = (self.done - self.before) / max(self.last_line - self.start, 1e-9)
        note = f"  {self.note}" if self.note else ""
        print(f"{self.label}: {self.done}/{self.total} {self.unit} ({rate:,.0f} {self.unit}/s){note}", flush=True)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
        elif kind is None:  # what ends it early has its own word, and whoever read along may be gone
            self._line()
