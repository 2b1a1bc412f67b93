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
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from cilp import params
from cilp.console import cli
from cilp.errors import UserError
from cilp.pipeline.record import Lock
from cilp.training.device import describe, prepare_device
from cilp.verify.clone import (
    choose,
    committed_outputs,
    forget_outputs,
    git,
    make_clone,
    overlap,
    read_lock,
    recorded_machine,
    restore,
    run_again,
    scratch,
    write_lock,
)
from cilp.verify.compare import Difference, compare, holds_figures, table

CHEAP = ("pack", "train_fusion@late-strided")
"""What is verified unless something else is named: the data that training reads, and the cheapest training there is."""


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
    settings = yaml.safe_load(git(root, "show", "HEAD:params.yaml"))
    here = describe(prepare_device(params.lookup(settings, "device")))
    differences: list[Difference] = []
    files = 0
    with tempfile.TemporaryDirectory(prefix="verify-", dir=scratch(root)) as folder:
        clone = Path(folder) / "clone"
        read = make_clone(root, clone, lock, stages)
        print(
            f"Commit {git(root, 'rev-parse', '--short', 'HEAD').strip()}; uncommitted changes are left out.",
            flush=True,
        )
        for number, stage in enumerate(stages):
            if number:  # from what is committed, not from what the one before has just written
                wrote = [out["path"] for out in lock[stages[number - 1]]["outs"]]
                restore(clone, [path for path in read if any(overlap(path, out) for out in wrote)])
            found, count = verify(stage, clone, lock, here, arguments.tolerant)
            differences += found
            files += count
    if differences:
        print("\n" + table(differences))
        print(f"\nThis machine: {_machine(here)}. What is committed was left as it is.")
        sys.exit(1)
    if not files:
        raise UserError(
            "these stages write nothing that can be compared (no costs or Markdown tables; across machines, no data, "
            "weights or pictures either); name stages that write metrics/."
        )
    print(f"{_counted(files, 'output')} compared; all agree.")


def verify(stage: str, clone: Path, lock: Lock, here: dict[str, str], tolerant: bool) -> tuple[list[Difference], int]:
    """Run ``stage`` once more in ``clone`` and say how it came out: what differs, and how many outputs were compared.

    ``here`` is this machine; ``tolerant``, that its own record is held to the tolerance alone as well.
    """
    there = recorded_machine(clone, lock, stage)
    exact = there == here and not tolerant
    before = committed_outputs(clone, lock, stage)
    forget_outputs(clone, lock, stage)
    write_lock(clone, lock, stage)
    run_again(clone, stage)
    after = committed_outputs(clone, read_lock(clone, head=False), stage)
    found = list(compare(before, after, exact))
    how = "byte for byte" if exact else f"within the tolerance, since recorded on {_machine(there)}"
    count = len(before) if exact or before == after else sum(map(holds_figures, before))
    result = _counted(len(found), "difference")
    if not exact and before == after:
        result += ", nor in any byte of what it wrote"
    print(f"{stage}: {_counted(count, 'output')} compared {how}: {result}.", flush=True)
    return found, count


def _counted(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


def _machine(machine: Mapping[str, str]) -> str:
    if not machine:
        return "a machine that costs/ does not name"
    return f"{machine['device']}; Python {machine['python']}, torch {machine['torch']}, NumPy {machine['numpy']}"


if __name__ == "__main__":
    cli.run(main)
