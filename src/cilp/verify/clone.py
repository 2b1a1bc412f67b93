"""A throwaway clone of the last commit, in which stages run once more on what its dvc.lock says they read."""

import contextlib
import difflib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from cilp.errors import UserError
from cilp.pipeline.record import Lock, parse
from cilp.pipeline.warm import PREFIX

MEASURED = ("costs/",)
MACHINE = ("device", "python", "torch", "numpy")
NOT_IN_CACHE = "Is your cache up to date?"
"""What DVC asks where its cache lacks a file."""


def read_lock(root: Path, head: bool = True) -> Lock:
    """The stages of dvc.lock, as committed or as it lies there."""
    text = git(root, "show", "HEAD:dvc.lock") if head else (root / "dvc.lock").read_text(encoding="utf-8")
    if not text or not (root / "dvc.yaml").is_file():
        raise UserError(
            "there is no commit with a dvc.lock here; run from the root of a repository that holds results."
        )
    return parse(text)


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
    return any(overlap(dep, out["path"]) for dep in deps for out in lock[other].get("outs", []))


def overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def make_clone(root: Path, clone: Path, lock: Lock, stages: Sequence[str]) -> list[str]:
    """Clone the last commit of ``root``, and take what ``stages`` read out of its DVC cache; returns what that is.

    Raises:
        UserError: the cache lacks some of it, or git or DVC fails otherwise.
    """
    _do(root, "git", "clone", "--quiet", "--shared", "--no-tags", str(root), str(clone))
    cache = _do(root, "dvc", "cache", "dir").strip()
    _do(clone, "dvc", "config", "--local", "cache.dir", str((root / cache).resolve()))
    tracked = set(git(clone, "ls-files", "-z").split("\0"))
    deps = {dep["path"] for stage in stages for dep in lock[stage].get("deps", [])}
    outs = {out["path"] for stage in lock.values() for out in stage.get("outs", [])}
    needed = sorted(out for out in outs if out not in tracked and any(overlap(out, dep) for dep in deps))
    if needed:
        _do(clone, "dvc", "checkout", *needed)
    return needed


def restore(clone: Path, read: Sequence[str]) -> None:
    """What the last commit holds, and ``read`` of its cache, over which a stage has written."""
    _do(clone, "git", "checkout", "--quiet", "--force", "HEAD", "--", ".")
    if read:
        _do(clone, "dvc", "checkout", "--quiet", "--force", *read)


def write_lock(clone: Path, lock: Lock, stage: str) -> None:
    """Leave in dvc.lock what it says of ``stage`` alone: DVC, which adds what the stage did, then has the rest neither
    to read nor to write, which takes it longer than the cheapest stages run."""
    (clone / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {stage: lock[stage]}}), encoding="utf-8")


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
    running = subprocess.Popen(command, cwd=clone, env=environment(), start_new_session=True)
    try:
        code = running.wait()
    except BaseException:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would leave the folder, or take it from a stage
        with contextlib.suppress(ProcessLookupError):  # a stage that the terminal has told as well has ended DVC
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


def scratch(root: Path) -> Path:
    """Where DVC keeps what is temporary: ignored by git, and on the disk of its cache, so that files can be linked."""
    folder = root / ".dvc/tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def environment() -> dict[str, str]:
    """That of this process; DVC and stages are this Python's, or those of ``cilp.pipeline.warm`` if it runs this."""
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    at_once = list(itertools.takewhile(lambda folder: Path(folder).parent.name.startswith(PREFIX), path))
    path = [*at_once, str(Path(sys.executable).parent), *path[len(at_once) :]]
    return {**os.environ, "PATH": os.pathsep.join(path), "WANDB_MODE": "disabled", "DVC_NO_ANALYTICS": "1"}


def _do(folder: Path, program: str, command: str, *arguments: str) -> str:
    """What ``program`` prints; ``UserError`` if it fails."""
    done = _run(folder, program, command, *arguments)
    if done.returncode and NOT_IN_CACHE in done.stderr:
        lacks = ", ".join(argument for argument in arguments if not argument.startswith("-"))
        raise UserError(f"DVC's cache lacks some of {lacks}, which is to be read; run `dvc pull` or `dvc repro` first.")
    if done.returncode:
        raise UserError(f"`{program} {command}` failed ({_last_line(done.stderr)}); mend it and try again.")
    return done.stdout


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError(f"{command[0]} is missing; install it, or run `make setup`.") from None


def git(folder: Path, *arguments: str) -> str:
    """What git prints; nothing, if it fails."""
    done = _run(folder, "git", *arguments)
    return done.stdout if done.returncode == 0 else ""


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
