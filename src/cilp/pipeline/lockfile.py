"""Puts a ``dvc.lock`` back that was cut off while DVC wrote it.

    PYTHONPATH=src python -m cilp.pipeline.lockfile

DVC empties the file and writes it anew after each stage, for up to a second. What ends DVC in that moment, such as
Ctrl-C, takes the records of other stages along, which then run again, mostly without a word: DVC's run cache does not
hold stages whose outputs persist. So every stage, at whose start the file is whole, keeps a copy.
"""

import argparse
import contextlib
import os
import shutil
from pathlib import Path

from cilp.errors import UserError

MODULE = "cilp.pipeline.lockfile"
FILE, COPY = Path("dvc.lock"), Path(".dvc/tmp/dvc.lock")


def keep() -> None:
    """Copy the lock file, if it is DVC that has started this process.

    Raises:
        UserError: the file is cut off, so that this may well have run before.
    """
    if "DVC_STAGE" not in os.environ or "DVC_ROOT" not in os.environ:
        return
    path, copy = (Path(os.environ["DVC_ROOT"]) / name for name in (FILE, COPY))
    with contextlib.suppress(OSError):
        if not path.exists():  # before the first stage of all
            copy.unlink(missing_ok=True)
        elif _whole(path):
            _replace(copy, path)
        elif copy.exists():
            raise UserError(
                f"{FILE} was cut off while DVC wrote it; run `PYTHONPATH=src python -m {MODULE}`, then DVC."
            )


def mend() -> bool:
    """Put the copy in the place of a lock file that is cut off, and say so; gives whether there was need to.

    Raises:
        UserError: there is no copy.
    """
    if not FILE.is_file() or _whole(FILE):
        return False
    if not COPY.is_file():
        raise UserError(f"{FILE} is cut off, and there is no copy of it; run `git checkout {FILE}`.")
    _replace(FILE, COPY)
    print(f"{FILE} was cut off while DVC wrote it; it is again as it was when the last stage began", flush=True)
    return True


def _whole(path: Path) -> bool:
    """Whether the file ends as DVC ends it, with a line break: DVC writes one together with what begins a line."""
    return path.read_bytes().endswith(b"\n")


def _replace(path: Path, by: Path) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.copyfile(by, temporary)
    temporary.replace(path)


if __name__ == "__main__":
    from cilp.console import cli  # which keeps copies

    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    cli.run(mend)
