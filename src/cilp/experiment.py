"""`dvc exp run`, after a check of what it would make of params.yaml: a wrong value costs a second and exit code 2.

    PYTHONPATH=src python -m cilp.experiment -S cilp.steps=500 -S 'seeds=[51]' --name short

All options are those of `dvc exp run`, and go on to it. By itself it would queue, copy and start first, and end with
255 when a stage refused the value. Of a grid (--queue -S fusion.late.lr=2e-3,1e-3) every point is checked before any is
queued.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cilp import params
from cilp.console import cli
from cilp.errors import UserError
from cilp.pipeline.lockfile import mend
from cilp.plain_yaml import UNREADABLE, read, shown
from cilp.schema import check

CODE = ("src", "stages")
NAMES_SHOWN = 3
MOST = 1_000
"""Points of a grid. More are a slip of the keyboard, such as ``range(1,1000000)``, and would all be queued."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "-S", "--set-param", action="append", default=[], metavar="KEY=VALUE", help="a param and its value, or several"
    )
    parser.add_argument("--temp", action="store_true", help="run in a copy of what git tracks")
    parser.add_argument("--queue", action="store_true", help="run later, in such a copy")
    parser.add_argument(
        "-C", "--copy-paths", action="append", default=[], metavar="PATH", help="what goes into the copy as well"
    )
    options = parser.parse_known_args()[0]
    check_overrides(options.set_param)
    if options.temp or options.queue:
        check_tracked(options.copy_paths)
    mend()
    sys.stdout.flush()
    command = [sys.executable, "-m", "cilp.pipeline.quick_dvc", "exp", "run", *sys.argv[1:]]
    os.execve(sys.executable, command, {**author(), **os.environ})


def check_overrides(overrides: Sequence[str], path: Path = params.PARAMS_FILE) -> int:
    """Hold ``path``, and what each combination of ``overrides`` (``"cilp.steps=500"``) makes of it, against the schema.

    Returns the number of combinations. ``path`` itself is left as it is.

    Raises:
        UserError: what DVC cannot parse or put into the file, and what the study cannot run with.
    """
    check(read(path))
    if not overrides:
        return 1
    # DVC's own, since the grammar and what it does to the file are DVC's; seconds to import, so only where needed
    from dvc.exceptions import InvalidArgumentError
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import apply_overrides, get_hydra_sweeps
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    by_file = to_path_overrides(overrides)
    for other in by_file.keys() - {str(params.PARAMS_FILE)}:
        raise UserError(f"-S {shown(other)}: the study has one file of params, {params.PARAMS_FILE}; name none.")
    text = path.read_bytes()
    try:
        points = get_hydra_sweeps(by_file)
        if len(points) > MOST:
            raise UserError(f"-S asks for {len(points):,} combinations; at most {MOST:,} are legal.")
        for point in points:
            with tempfile.TemporaryDirectory() as folder:
                varied = Path(folder) / params.PARAMS_FILE.name
                varied.write_bytes(text)
                apply_overrides(varied, point[str(params.PARAMS_FILE)])
                check(read(varied))
    except (InvalidArgumentError, HydraException, OmegaConfBaseException, *UNREADABLE) as error:
        said = (str(error.__cause__ or error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        given = shown(" -S ".join(overrides))
        blanks = "" if all(map(_closed, overrides)) else ", without blanks in SET"
        raise UserError(f"-S {given}: {said}; write KEY=VALUE{blanks}, with a key of {params.PARAMS_FILE}.") from None
    return len(points)


def _closed(text: str) -> bool:
    """Whether every bracket that is opened is closed, which what make has cut at a blank is not."""
    return all(text.count(one) == text.count(other) for one, other in ("[]", "{}", "()"))


def author() -> dict[str, str]:
    """What git has to be told where it knows of no author: else DVC cannot put uncommitted results aside, as it does
    before an experiment."""
    named: dict[str, str] = {}
    for key, default in (("name", "cilp"), ("email", "cilp@localhost")):
        if subprocess.run(["git", "config", f"user.{key}"], capture_output=True, check=False).returncode:
            named |= {f"GIT_{role}_{key.upper()}": default for role in ("AUTHOR", "COMMITTER")}
    return named


def check_tracked(copied: Sequence[str] = ()) -> None:
    """Raise ``UserError`` if there is code that git does not know: DVC copies only what it does, and ``copied`` paths.

    Outside of a repository, nothing is known.
    """
    ask = ["git", "ls-files", "-z", "--others", "--exclude-standard", "--", *(f"{folder}/*.py" for folder in CODE)]
    names = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.split("\0")
    missing = [name for name in names if name and not any(Path(name).is_relative_to(path) for path in copied)]
    if missing:
        more = f" and {len(missing) - NAMES_SHOWN} more" if len(missing) > NAMES_SHOWN else ""
        named = shown(" ".join(missing[:NAMES_SHOWN]))
        raise UserError(
            f"The experiment is to run in a copy of what git tracks, which lacks {named}{more}; `git add` what it "
            "needs, and remove or ignore the rest."
        )


if __name__ == "__main__":
    cli.run(main)
