"""One run of a stage at a time: a second one of the same command in the same folder would work on the same files."""

import contextlib
import fcntl
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from cilp.errors import UserError


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold the lock of the stage script that runs, if it is one; it goes with the process, in whatever way that ends.

    DVC keeps its own commands apart; this is for scripts that run without it, and for one that outlived a killed DVC.

    Raises:
        UserError: the same command is at work in this folder.
    """
    script = Path(sys.argv[0])
    if script.parent.name != "stages" or os.environ.get("RANK", "0") != "0":  # torchrun's others belong together
        yield
        return
    words = sorted(" ".join(sys.argv[1:]).replace("=", " ").split())
    identity = hashlib.sha256("\0".join([str(Path.cwd()), script.name, *words]).encode()).hexdigest()
    path = Path(os.environ.get("TMPDIR") or "/tmp") / f"cilp-{os.getuid()}-{identity[:16]}.lock"
    lock = _hold(path, " ".join([str(script), *sys.argv[1:]]))
    try:
        yield
    finally:
        if lock is not None:
            path.unlink(missing_ok=True)
            os.close(lock)


def _hold(path: Path, command: str) -> int | None:
    """The open file that holds the lock; None where files cannot be locked."""
    while True:
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_nlink:  # else its holder has just removed it
                os.ftruncate(lock, 0)
                os.write(lock, str(os.getpid()).encode())
                return lock
            os.close(lock)
        except BlockingIOError:
            process = os.read(lock, 20).decode() or "?"
            os.close(lock)
            raise UserError(
                f"{command} is running in this folder already (process {process}); wait for it to end, or end it."
            ) from None
        except OSError:
            os.close(lock)
            return None
