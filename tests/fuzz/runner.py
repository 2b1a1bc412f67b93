"""Mutated inputs for every reader of outside data, each under a limit of time and memory.

    PYTHONPATH=src:tests python -m fuzz --inputs 10000

With ``--document docs/reliability.md`` the counts are put there as a table.

Input number i of a reader is a function of (reader, i) alone; ``--reader zip --first 123 --inputs 1`` repeats one. What
a reader accepts must be what it says it returns; what it refuses must be refused with its own sentence, or be listed
with a reason. Anything else ends the run with status 1, and so do an input that takes too long, one that takes more
than 1 GiB, and a file that is opened for writing outside of the target folder.
"""

import argparse
import contextlib
import faulthandler
import io
import json
import math
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cilp.atomic import write_text
from cilp.errors import UserError
from cilp.raw.decode import Unusable
from cilp.report.docs import insert_tables
from fuzz.exports import judge_export, judge_hub
from fuzz.images import judge_angles, judge_png, judge_range
from fuzz.judging import Judge, Place, Refused
from fuzz.mutations import Rng
from fuzz.torch_files import judge_checkpoint, judge_embeddings, judge_packed
from fuzz.trees import judge_folder, judge_manifest, judge_zip

SECONDS = 20
"""Longest that one input may take, on a machine that does other work beside."""
MOST_BYTES = 2**30
LEAST = 30
"""Inputs of each reader, where its share would be fewer: of one in eight, say, some are accepted then."""

READERS: dict[str, tuple[Judge, float]] = {
    "PNG": (judge_png, 0.20),
    "npy range image": (judge_range, 0.15),
    "npy calibration": (judge_angles, 0.10),
    "packed.pt": (judge_packed, 0.08),
    "checkpoint": (judge_checkpoint, 0.08),
    "embeddings": (judge_embeddings, 0.04),
    "zip": (judge_zip, 0.12),
    "folder": (judge_folder, 0.04),
    "manifest.csv": (judge_manifest, 0.10),
    "export JSON": (judge_export, 0.10),
    "hub import": (judge_hub, 0.03),
}
"""Each reader's judge and its share of the inputs."""


class TooSlow(BaseException):
    """No reader catches it."""


class Guard:
    """Notes files that are opened for writing, and folders that are made, outside of the folders allowed."""

    def __init__(self) -> None:
        self.allowed: tuple[str, ...] | None = None
        self.broken: list[str] = []
        sys.addaudithook(self.heard)

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.allowed is None or event not in ("open", "os.mkdir", "os.rename", "os.symlink", "os.link"):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            return
        for path in arguments[:2] if event in ("os.rename", "os.link") else arguments[:1]:
            if isinstance(path, str | bytes | os.PathLike):
                place = os.path.realpath(os.fsdecode(path))
                if not any(place == folder or place.startswith(folder + os.sep) for folder in self.allowed):
                    self.broken.append(f"{event} {place}")


def causes(error: BaseException | None) -> list[BaseException]:
    found = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def peak_bytes() -> int:
    """Most address space that the process had: what is allocated counts, whether it is touched or not."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmPeak:"))
    return int(line.split()[1]) * 1024


def attempt(judge: Judge, rng: Rng, folder: Path, guard: Guard, most_bytes: int) -> str:
    """What became of one input: "unchanged", "other, valid" or "refused"; anything else is an ``AssertionError``."""
    place = Place(folder / "inputs", folder / "target")
    place.inputs.mkdir()
    scratch = folder / "scratch"
    guard.allowed, guard.broken = tuple(os.path.realpath(path) for path in (place.inputs, place.target, scratch)), []
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True)  # where even the alarm is not heard
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        outcome = "unchanged" if judge(rng, place) else "other, valid"
    except (UserError, Unusable, Refused) as error:
        outcome = "refused"
        assert isinstance(error, Refused) or 0 < len(str(error)) < 2000, "no sentence"
        for cause in causes(error):
            assert not isinstance(cause, MemoryError) and "allocate memory" not in str(cause), f"memory: {cause!r}"
    except TooSlow:
        raise AssertionError(f"took more than {SECONDS} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        guard.allowed = None
    assert peak_bytes() <= most_bytes, f"took more than {MOST_BYTES / 2**30:g} GiB"
    assert not guard.broken, f"touched {guard.broken}"
    assert sorted(path.name for path in folder.iterdir()) in (["inputs", "scratch"], ["inputs", "scratch", "target"])
    assert not any(scratch.iterdir()), "left a temporary file"
    for path in (place.inputs, place.target):
        shutil.rmtree(path, ignore_errors=True)
    return outcome


def slow(*_: object) -> None:
    raise TooSlow


def run(readers: list[str], inputs: int, first: int) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Outcomes by reader, and what went wrong, a line each."""
    faulthandler.enable()
    signal.signal(signal.SIGALRM, slow)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 8 * MOST_BYTES, resource.RLIM_INFINITY))  # else the machine suffers
    most_bytes = max(peak_bytes(), size + MOST_BYTES)  # of all inputs together, hence of each
    guard = Guard()
    counts: dict[str, dict[str, int]] = {}
    failures = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        for reader in readers:
            judge, share = READERS[reader]
            outcomes: Counter[str] = Counter({"unchanged": 0, "other, valid": 0, "refused": 0})
            seed = zlib.crc32(reader.encode())
            count = inputs if len(readers) == 1 else max(LEAST, math.ceil(inputs * share))
            for number in range(first, first + count):
                folder = Path(temporary, "input")
                (folder / "scratch").mkdir(parents=True)
                tempfile.tempdir = str(folder / "scratch")
                print(f"{reader} {number}", file=sys.stderr, flush=True)  # the last line, should it crash
                try:
                    with contextlib.redirect_stdout(io.StringIO()):
                        outcomes[attempt(judge, np.random.default_rng([seed, number]), folder, guard, most_bytes)] += 1
                except Exception as error:
                    outcomes["FAILED"] += 1
                    where = traceback.extract_tb(error.__traceback__)[-1]
                    place = f"{where.filename}:{where.lineno}"
                    failures.append(f"{reader} {number}: {type(error).__name__}: {str(error)[:300]} ({place})")
                shutil.rmtree(folder)
            counts[reader] = dict(outcomes)
    tempfile.tempdir = None
    return counts, failures


def table(counts: dict[str, dict[str, int]]) -> str:
    """Markdown, with a heading that is left out where it is put."""
    outcomes = ("unchanged", "other, valid", "refused")
    total = {name: sum(found[name] for found in counts.values()) for name in outcomes}
    lines = [
        f"| {reader} | {sum(found.values()):,} | " + " | ".join(f"{found[name]:,}" for name in outcomes) + " |"
        for reader, found in {**counts, "all": total}.items()
    ]
    head = "| reader | inputs | read as the original | read as other, valid data | refused with a reason |\n"
    return "# title\n\n" + head + "| --- | --- | --- | --- | --- |\n" + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000, help="of all readers together, or of the one named")
    parser.add_argument("--reader", choices=READERS, help="one reader alone")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--document", type=Path, metavar="FILE", help="page with a place for the table of counts")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    counts, failures = run([arguments.reader] if arguments.reader else [*READERS], arguments.inputs, arguments.first)
    print(json.dumps({"counts": counts, "failures": failures}))
    if arguments.document and not failures:
        page = arguments.document.read_text(encoding="utf-8")
        write_text(arguments.document, insert_tables(page, {"fuzz": table(counts)}))
    sys.exit(1 if failures else 0)
