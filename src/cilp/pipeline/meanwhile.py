"""Refuses what a stage wrote if its code or params changed while it ran.

DVC writes down what it finds once a stage is through. What was edited meanwhile would stand in ``dvc.lock`` beside
results that were made without it, and no later run would notice.
"""

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from cilp.errors import UserError

PIPELINE, PARAMS = Path("dvc.yaml"), Path("params.yaml")
CODE = ("src/", "stages/")
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@contextlib.contextmanager
def unchanged() -> Iterator[None]:
    """Run a stage; outside of DVC, nothing is looked at.

    Raises:
        UserError: code or a param that the stage declares is another than before, or params.yaml cannot be read any
            more. What the pipeline says of the stage by then does not count: DVC has read that before, too.
    """
    stage, _, key = os.environ.get("DVC_STAGE", "").rpartition(":")[2].partition("@")
    code, names = _declared(stage, key)
    before = _state(code, names)
    yield
    after = _state(code, names)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed:
        raise UserError(
            f"{' and '.join(changed)} changed while this stage ran, so that its results are of neither; keep it as it "
            "is now and run `dvc repro` again."
        )


def _declared(stage: str, key: str) -> tuple[list[Path], list[str]]:
    """Files and folders of code that ``stage`` depends on, and names of its params; none if it is none of a pipeline.

    ``key`` is which of a ``foreach`` it is.
    """
    try:
        declared = _read(PIPELINE)["stages"][stage] if stage else {}
        params = _read(PARAMS) if stage else {}
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError):
        return [], []
    declared = declared.get("do", declared)
    paths = [_filled_in(dep, key, params) for dep in declared.get("deps", [])]
    names = [_filled_in(name, key, params) for name in declared.get("params", [])]
    return [Path(path) for path in paths if path.startswith(CODE)], names


def _state(code: Iterable[Path], names: Sequence[str]) -> dict[str, Any]:
    """Contents of the files of ``code``, and params, by name."""
    files = [file for path in code for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))]
    found: dict[str, Any] = {str(file): hashlib.blake2b(file.read_bytes()).digest() for file in files}
    if names:
        try:
            params = _read(PARAMS)
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise UserError(
                f"{PARAMS} cannot be read any more ({type(error).__name__}), so that nobody knows what this stage ran "
                "with; mend it and run `dvc repro` again."
            ) from None
        found |= {name: _value(name, params) for name in names}
    return found


def _read(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), _Loader)


def _value(name: str, params: Any) -> Any:
    """What stands in the params under a name such as ``fusion.late``; None if there is nothing."""
    for part in name.split("."):
        params = params.get(part) if isinstance(params, dict) else None
    return params


def _filled_in(text: str, key: str, params: Any) -> str:
    """A path or name with what DVC puts in: ``${key}`` of a ``foreach``, a param, or an item of a matrix.

    The latter the stage was given as an argument: ``--fusion late``.
    """

    def value(name: re.Match) -> str:
        if name[1] == "key":
            return key
        if not name[1].startswith("item."):
            return str(_value(name[1], params))
        option = f"--{name[1].removeprefix('item.').replace('_', '-')}"
        return sys.argv[sys.argv.index(option) + 1] if option in sys.argv[:-1] else name[0]

    return re.sub(r"\$\{([\w.]+)\}", value, text)
