"""Reads what DVC wrote down in ``dvc.lock``: what each stage read and wrote when it last ran."""

from collections.abc import Mapping
from typing import Any

import yaml

Lock = Mapping[str, Mapping[str, Any]]
"""Stage -> ``cmd``, ``deps``, ``params``, ``outs``."""
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a lock file has thousands of lines: in C, where there is that


def parse(text: str) -> Lock:
    """The stages of a lock file's text; none of an empty one."""
    return (yaml.load(text, _Loader) or {}).get("stages", {})
