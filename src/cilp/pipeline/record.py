"""Reads what DVC wrote down in ``dvc.lock``: what each stage read and wrote when it last ran."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
Lock = Mapping[str, Mapping[str, Any]]
"""Stage -> ``cmd``, ``deps``, ``params``, ``outs``."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # a lock file has thousands of lines: in C, if there is C
    """DVC writes YAML 1.2, in which ``1e-05`` is a number."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+0123456789"))


def parse(text: str) -> Lock:
    """The stages of a lock file's text; none of an empty one."""
    return (yaml.load(text, _Loader) or {}).get("stages", {})
