"""Re-run stages of the committed study in a throwaway clone, and compare what they write with what is committed.

    PYTHONPATH=src python -m cilp.verify train_fusion@late-strided train_projector

Each stage runs once more from what the last commit's dvc.lock says it read, by `dvc repro --force --no-run-cache`, in a
clone that vanishes; neither the working tree nor DVC's cache is written to.

On the machine of the record (device, threads, Python, torch and NumPy are those in costs/: in the stage's own, or in
all of them) every byte must be equal:
metrics, plots, weights and data; costs and the Markdown tables that quote them are measured and are left out.

On another machine, rounding may differ, and training amplifies it. There the figures in metrics/*.json must agree
within a tolerance: shares (accuracy, recall, cosine) within 0.02, all others within 0.02 or 25 percent, and either
within three standard deviations over the seeds where that is more; whole numbers (parameters, pairs, seeds) must be
equal.
Of the other files, the CSV must have the same columns and as many rows; weights, data and pictures are not compared.

Exit code: 0 if all agree, 1 if not, 2 if it cannot be told.
"""

import argparse
import csv
import difflib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cilp import params
from cilp.console import cli
from cilp.errors import UserError
from cilp.pipeline.record import Lock, parse
from cilp.training.device import describe, prepare_device

CHEAP = ("pack", "train_fusion@late-strided")
"""What is verified unless something else is named: the data that training reads, and the cheapest training there is."""
SHARES = ("accuracy", "recall", "cosine", "sensor_failures")
"""In the name of a figure, or of the file that holds nothing else: a share of 1."""
ABSOLUTE, RELATIVE, SPREADS = 0.02, 0.25, 3.0
MEASURED = ("costs/",)
FIGURES = (".json", ".csv")
COUNTED = ", samples"
"""Column of how many samples a model calls what: whole numbers that follow from its accuracy."""
MACHINE = ("device", "python", "torch", "numpy")


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", help=f"as `dvc stage list` names them (default: {' '.join(CHEAP)})")
    parser.add_argument(
        "--tolerant", action="store_true", help="apply the tolerance on the machine of the record as well"
    )
    arguments = parser.parse_args()
    root = Path.cwd()
    lock = read_lock(root)
    stages = choose(arguments.stages or CHEAP, lock)
    settings = yaml.safe_load(_git(root, "show", "HEAD:params.yaml"))
    here = describe(prepare_device(params.lookup(settings, "device")))
    differences, files = [], 0
    with tempfile.TemporaryDirectory(prefix="verify-", dir=_scratch(root)) as folder:
        clone = Path(folder) / "clone"
        read = make_clone(root, clone, lock, stages)
        print(
            f"Commit {_git(root, 'rev-parse', '--short', 'HEAD').strip()}; uncommitted changes are left out.",
            flush=True,
        )
        for number, stage in enumerate(stages):
            if number:  # from what is committed, not from what the one before has just written
                wrote = [out["path"] for out in lock[stages[number - 1]]["outs"]]
                restore(clone, [path for path in read if any(_overlap(path, out) for out in wrote)])
            there = recorded_machine(clone, lock, stage)
            exact = there == here and not arguments.tolerant
            before = committed_outputs(clone, lock, stage)
            forget_outputs(clone, lock, stage)
            write_lock(clone, lock, stage)
            run_again(clone, stage)
            after = committed_outputs(clone, read_lock(clone, head=False), stage)
            found = list(compare(before, after, exact))
            how = "byte for byte" if exact else f"within the tolerance, since recorded on {_machine(there)}"
            count = len(before) if exact or before == after else sum(map(_holds_figures, before))
            result = _counted(len(found), "difference")
            if not exact and before == after:
                result += ", nor in any byte of what it wrote"
            print(f"{stage}: {_counted(count, 'output')} compared {how}: {result}.", flush=True)
            differences += found
            files += count
    if differences:
        print("\n" + table(differences))
        print(f"\nThis machine: {_machine(here)}. What is committed was left as it is.")
        sys.exit(1)
    if not files:
        raise UserError(
            "data, weights and pictures cannot be compared across machines; name stages that write metrics/."
        )
    print(f"{_counted(files, 'output')} compared; all agree.")


def read_lock(root: Path, head: bool = True) -> Lock:
    """The stages of dvc.lock, as committed or as it lies there."""
    text = _git(root, "show", "HEAD:dvc.lock") if head else (root / "dvc.lock").read_text(encoding="utf-8")
    if not text or not (root / "dvc.yaml").is_file():
        raise UserError(
            "there is no commit with a dvc.lock here; run from the root of a repository that holds results."
        )
    return parse(text)


def write_lock(clone: Path, lock: Lock, stage: str) -> None:
    """Leave in dvc.lock what it says of ``stage`` alone: DVC, which adds what the stage did, then has the rest neither
    to read nor to write, which takes it longer than the cheapest stages run."""
    (clone / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {stage: lock[stage]}}), encoding="utf-8")


def choose(names: Sequence[str], lock: Lock) -> list[str]:
    """The stages called ``names`` in the order of the pipeline; a name without @ means all stages of its group.

    Raises:
        UserError: the committed lock file knows no such stage.
    """
    chosen: set[str] = set()
    for name in names:
        group = {stage for stage in lock if stage == name or stage.startswith(f"{name}@")}
        if not group:
            close = difflib.get_close_matches(name, lock, n=1)
            hint = f", such as {close[0]}" if close else ""
            raise UserError(f"{name} is no stage with committed results; name one that `dvc stage list` shows{hint}.")
        chosen |= group
    left, ordered = set(chosen), []
    while left:  # a stage follows those whose outputs it reads
        ready = sorted(stage for stage in left if not any(_reads(lock, stage, other) for other in left - {stage}))
        ordered += ready
        left -= set(ready)
    return ordered


def _reads(lock: Lock, stage: str, other: str) -> bool:
    """Whether ``stage`` reads an output of ``other``."""
    deps = [dep["path"] for dep in lock[stage].get("deps", [])]
    return any(_overlap(dep, out["path"]) for dep in deps for out in lock[other].get("outs", []))


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def make_clone(root: Path, clone: Path, lock: Lock, stages: Sequence[str]) -> list[str]:
    """Clone the last commit of ``root``, and take what ``stages`` read out of its DVC cache; returns what that is.

    Raises:
        UserError: the cache lacks some of it.
    """
    done = _run(root, "git", "clone", "--quiet", "--shared", "--no-tags", str(root), str(clone))
    if done.returncode:
        raise UserError(f"git could not clone this repository ({_last_line(done.stderr)}); mend it and try again.")
    cache = _run(root, "dvc", "cache", "dir").stdout.strip()
    _run(clone, "dvc", "config", "--local", "cache.dir", str((root / cache).resolve()))
    tracked = set(_git(clone, "ls-files", "-z").split("\0"))
    deps = {dep["path"] for stage in stages for dep in lock[stage].get("deps", [])}
    outs = {out["path"] for stage in lock.values() for out in stage.get("outs", [])}
    needed = sorted(out for out in outs if out not in tracked and any(_overlap(out, dep) for dep in deps))
    if needed and (done := _run(clone, "dvc", "checkout", *needed)).returncode:
        raise UserError(
            f"DVC's cache lacks some of {', '.join(needed)}, which is to be read; run `dvc pull` or `dvc repro` first."
        )
    return needed


def restore(clone: Path, read: Sequence[str]) -> None:
    """What the last commit holds, and ``read`` of its cache, over which a stage has written."""
    _git(clone, "checkout", "--quiet", "--force", "HEAD", "--", ".")
    if read:
        _run(clone, "dvc", "checkout", "--quiet", "--force", *read)


def forget_outputs(clone: Path, lock: Lock, stage: str) -> None:
    """Remove what a stage wrote: DVC leaves outputs that persist, and one not written anew must not count as equal."""
    for out in lock[stage]["outs"]:
        path = clone / out["path"]
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def run_again(clone: Path, stage: str) -> None:
    """Run ``stage`` alone, whatever DVC knows of it; what it prints is shown as it comes."""
    command = ("dvc", "repro", "--force", "--no-run-cache", "--no-commit", "--single-item", stage)
    # in a session of its own, so that what ends this process ends DVC and the stage as well, before their folder goes
    running = subprocess.Popen(command, cwd=clone, env=_environment(), start_new_session=True)
    try:
        code = running.wait()
    except BaseException:
        os.killpg(running.pid, signal.SIGTERM)
        running.wait()
        _wait_for_group(running.pid)
        raise
    if code:
        raise UserError(f"{stage} failed when it was run again; the lines above say why.")


def _wait_for_group(group: int) -> None:
    """Until the last process of a group has ended, which DVC does not wait for, or ten seconds."""
    end = time.monotonic() + 10
    try:
        while time.monotonic() < end:
            os.killpg(group, 0)
            time.sleep(0.05)
    except ProcessLookupError:
        pass


def recorded_machine(clone: Path, lock: Lock, stage: str) -> dict[str, str]:
    """What a stage's committed results were made on: what its own record in costs/ says, or else what all do; empty
    where they are of several machines."""

    def costs(*names: str) -> list[Path]:
        outs = (out["path"] for name in names for out in lock[name].get("outs", ()))
        return [clone / path for path in outs if path.startswith(MEASURED) and (clone / path).is_file()]

    found = [json.loads(path.read_text(encoding="utf-8")) for path in costs(stage) or costs(*lock)]
    machines = [{key: str(cost.get(key)) for key in MACHINE} for cost in found]
    return machines[0] if machines and all(machine == machines[0] for machine in machines) else {}


def committed_outputs(clone: Path, lock: Lock, stage: str) -> dict[str, bytes]:
    """Content of each output of a stage that is not measured; of those in DVC's cache, the hash in the lock file."""
    outputs = {}
    for out in lock[stage]["outs"]:
        path = out["path"]
        if path.startswith(MEASURED) or path.endswith(".md"):
            continue
        if not path.startswith(("metrics/", "plots/")):
            outputs[path] = str(out["md5"]).encode()
        elif (clone / path).is_file():
            outputs[path] = (clone / path).read_bytes()
    return outputs


def compare(before: Mapping[str, bytes], after: Mapping[str, bytes], exact: bool) -> Iterator[Difference]:
    """What differs between two sets of outputs: in any byte, or beyond the tolerance."""
    for path in dict.fromkeys((*before, *after)):
        old, new = before.get(path), after.get(path)
        if old is None or new is None:
            yield Difference(path, "(file)", *("missing" if content is None else "there" for content in (old, new)))
        elif old == new:
            continue
        elif _holds_figures(path):
            try:
                both = figures(path, old), figures(path, new)
            except ValueError:  # what is committed is no JSON any more
                yield Difference(path, "(content)", _brief(old), _brief(new))
            else:
                yield from _compare_figures(path, *both, exact)
        elif exact:
            yield Difference(path, "(content)", _brief(old), _brief(new))


def _holds_figures(path: str) -> bool:
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


def _counted(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def table(differences: Sequence[Difference], most: int = 60) -> str:
    """The differences in aligned columns, ``most`` of them at most."""
    rows = [("file", "key", "committed", "now", "difference"), *(one.row() for one in differences[:most])]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    more = len(differences) - most
    return "\n".join(lines + ([f"and {more} more"] if more > 0 else []))


def _machine(machine: Mapping[str, str]) -> str:
    if not machine:
        return "a machine that costs/ does not name"
    return f"{machine['device']}; Python {machine['python']}, torch {machine['torch']}, NumPy {machine['numpy']}"


def _scratch(root: Path) -> Path:
    """Where DVC keeps what is temporary: ignored by git, and on the disk of its cache, so that files can be linked."""
    folder = root / ".dvc/tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "WANDB_MODE": "disabled", "DVC_NO_ANALYTICS": "1"}


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError(f"{command[0]} is missing; install it, or run `make setup`.") from None


def _git(folder: Path, *arguments: str) -> str:
    """What git prints; nothing, if it fails."""
    done = _run(folder, "git", *arguments)
    return done.stdout if done.returncode == 0 else ""


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


if __name__ == "__main__":
    cli.run(main)
