"""Refuses what a stage wrote if its code or params changed while it ran.

DVC writes down what it finds once a stage is through. What was edited meanwhile would stand in ``dvc.lock`` beside
results that were made without it, and no later run would notice.
"""

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Iterator
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
        UserError: code or a param that the stage declares is another than before.
    """
    stage, _, key = os.environ.get("DVC_STAGE", "").rpartition(":")[2].partition("@")
    before = _state(stage, key)
    yield
    after = _state(stage, key)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed:
        raise UserError(
            f"{' and '.join(changed)} changed while this stage ran, so that its results are of neither; keep it as it "
            "is now and run `dvc repro` again."
        )


def _state(stage: str, key: str) -> dict[str, Any]:
    """Contents of the code that ``stage`` depends on, and its params, by name; nothing if it is none of a pipeline.

    ``key`` is which of a ``foreach`` it is.
    """
    try:
        declared = _read(PIPELINE)["stages"][stage] if stage else {}
        params = _read(PARAMS) if stage else {}
    except (OSError, yaml.YAMLError, LookupError, TypeError):
        return {}
    declared = declared.get("do", declared)
    files = [
        file
        for path in (_filled_in(dep, key, params) for dep in declared.get("deps", []))
        if path.startswith(CODE)
        for file in ([Path(path)] if Path(path).is_file() else sorted(Path(path).rglob("*.py")))
    ]
    found: dict[str, Any] = {str(file): hashlib.md5(file.read_bytes()).digest() for file in files}
    for name in (_filled_in(name, key, params) for name in declared.get("params", [])):
        found[name] = _value(name, params)
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
