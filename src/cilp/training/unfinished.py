"""What an interrupted run needs to go on: written now and then, believed only by the very same run, gone at the end."""

import hashlib
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch

from cilp.atomic import check_archive, replacing
from cilp.training.device import describe
from cilp.training.distributed import world

PACKAGE = Path(__file__).parents[1]
SECONDS_BETWEEN_SAVES = 5.0
"""A run that is killed loses so much work and what came since the validation before. A state is a few megabytes, so
that saving costs nothing that could be measured on a CPU; a GPU finishes a classifier before the first one is due."""


class Unfinished:
    """The state of one run, in a file that no stage declares: DVC removes what a stage declares before it runs."""

    def __init__(self, path: Path, fingerprint: str):
        self.path, self.fingerprint = path, fingerprint
        self.last = time.monotonic()

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The last state saved, if there is one and it is of this very run."""
        try:
            check_archive(self.path)
            content = torch.load(self.path, map_location=device, weights_only=True)
            return content["state"] if content["fingerprint"] == self.fingerprint else None
        except FileNotFoundError:
            return None
        except Exception as error:
            print(f"{self.path} cannot be read ({type(error).__name__}); the run begins anew")
            return None

    def due(self, last: bool) -> bool:
        """Whether it is time to save; the ``last`` state of a run is wanted if there is any before it."""
        return time.monotonic() - self.last >= SECONDS_BETWEEN_SAVES or (last and self.path.exists())

    def save(self, state: dict[str, Any]) -> None:
        """Replace the state, whole or not at all; ``state`` is plain values and tensors."""
        with replacing(self.path, "wb") as file:
            torch.save({"fingerprint": self.fingerprint, "state": state}, file)
        self.last = time.monotonic()


class UnfinishedRuns:
    """The states of a stage's runs, one for each seed."""

    def __init__(self, folder: Path, device: torch.device, inputs: list[Path], *params: Any):
        """``inputs`` are the data files that the stage reads, ``params`` what else decides its results."""
        self.folder = folder
        files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in inputs]
        machine = (*describe(device).values(), device.type, torch.get_num_threads(), world().size)
        self.identity = repr((_code(), machine, files, params))

    def of(self, seed: int) -> Unfinished:
        """The state of one seed's run."""
        fingerprint = hashlib.sha256(f"{self.identity} {seed}".encode()).hexdigest()
        return Unfinished(self.folder / f"seed-{seed}.pt", fingerprint)

    def clear(self) -> None:
        """Forget them all: every result is written."""
        if world().leads:
            shutil.rmtree(self.folder, ignore_errors=True)


def _code() -> str:
    """A digest of the script that runs and of all of the package: a run never goes on with other code than it began
    with. What is imported by now is not enough to go by, for a fusion's module is looked up when it is built."""
    digest = hashlib.sha256()
    for path in (*sorted(PACKAGE.rglob("*.py")), Path(sys.argv[0])):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()
