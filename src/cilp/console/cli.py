"""What every stage script does around its ``main()``: messages instead of tracebacks, exit codes, Ctrl-C."""

import contextlib
import errno
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from cilp.errors import UserError
from cilp.pipeline.alone import alone
from cilp.pipeline.lockfile import keep
from cilp.pipeline.meanwhile import unchanged

WRITTEN = ("data", "models", "metrics", "plots", "costs", "reports")
"""Folders that stages write into."""
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SAID_OTHERWISE = re.compile(
    rf"{os.strerror(errno.ENOSPC)}|OutOfDiskSpace|\d+ requested and \d+ written|No usable temporary directory"
)
"""How MongoDB, NumPy and ``tempfile`` say that a disk is full, without its error number."""


def run(main: Callable[[], None]) -> None:
    """Run ``main`` and exit: 0 when done, 2 with one sentence for a ``UserError``, 130 on Ctrl-C, 143 on SIGTERM.

    A termination (a scheduler whose time is up, a shutdown) and a terminal that is closed (129) unwind like Ctrl-C, so
    that temporary files go. A full disk is the user's to put right, wherever it shows.
    """
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # below nohup it stays ignored
        signal.signal(signal.SIGHUP, _terminate)
    try:
        keep()
        with alone(), unchanged():
            main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        message = _no_space(error) or (str(error) if isinstance(error, UserError) else None)
        message = message or _missing(error) or _no_memory(error)
        if message is None:
            raise
        print(f"error: {without_credentials(message)}", file=sys.stderr)
        sys.exit(2)


def without_credentials(text: str) -> str:
    """``text`` without what stands before the @ of an address in it."""
    return re.sub(r"(\w+://)[^/\s]*@", r"\1...@", text)


def _no_space(error: BaseException) -> str | None:
    """What to say if a full disk is among the causes of ``error``, whatever was made of it on the way."""
    places = (Path.cwd(), Path(os.environ.get("TMPDIR") or "/tmp"))
    reason, path = os.strerror(errno.ENOSPC), None
    cause: BaseException | None = error
    while cause is not None:
        number = cause.errno if isinstance(cause, OSError) else None
        if number in NO_SPACE or SAID_OTHERWISE.search(str(cause)):
            reason = os.strerror(number) if number in NO_SPACE else reason
            path = getattr(cause, "filename2", None) or getattr(cause, "filename", None)
            break
        cause = cause.__cause__ or cause.__context__
    if cause is None and (isinstance(error, UserError) or not any(map(_is_full, places))):
        return None
    where = f", at {path}" if path else ""
    return (
        f"Results cannot be written ({reason}{where}); free some space on the disks of {places[0]} and of {places[1]}, "
        "then run it again."
    )


def _no_memory(error: BaseException) -> str | None:
    """What to say if a GPU's memory was too small outside of a step, which says more: for the data, or to evaluate.

    ``torch.OutOfMemoryError`` by its name, since much that runs here does without PyTorch.
    """
    if type(error).__name__ != "OutOfMemoryError":
        return None
    said = str(error).partition(". ")[0]
    return f"The GPU's memory is too small ({said}); free some of it, use fewer scenes, or set device to cpu."


def _missing(error: BaseException) -> str | None:
    """What to say if a file of the project is not there that a stage would have written."""
    if not isinstance(error, FileNotFoundError) or error.filename is None:
        return None
    path = Path(os.fsdecode(error.filename))
    inside = not path.is_absolute() and path.parts[:1] and path.parts[0] in WRITTEN
    return f"{path} is missing; run `dvc repro` to write it." if inside else None


def _is_full(folder: Path) -> bool:
    """Whether a megabyte is too much: FiftyOne's database dies of that and leaves a broken connection."""
    try:
        return shutil.disk_usage(folder).free < 2**20
    except OSError:
        return False


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # the terminal may be gone
        print("terminated", file=sys.stderr)
    sys.exit(128 + number)
