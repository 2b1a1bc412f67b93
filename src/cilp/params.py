"""Typed access to ``params.yaml``: a section becomes a dataclass, or is refused with key, value and cure."""

import dataclasses
import difflib
import re
import types
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from cilp.errors import UserError

T = TypeVar("T")
PARAMS_FILE = Path("params.yaml")


UNREADABLE = (ValueError, LookupError, AttributeError, TypeError, OverflowError)
"""What PyYAML raises beside ``YAMLError`` for a scalar that looks or claims to be a date or number, and is none."""


class _Loader(yaml.SafeLoader):
    """PyYAML reads YAML 1.1, where ``1e-05`` is a string; ``--set-param`` writes YAML 1.2, where it is a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """Parse a params file.

    Raises:
        UserError: the file is missing or is no YAML mapping.
    """
    try:
        with open(path, encoding="utf-8") as file:
            params = yaml.load(file, _Loader)
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run from the repository's root.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8 text from byte {error.start:,} on; save it as UTF-8.") from None
    except (yaml.YAMLError, RecursionError, *UNREADABLE) as error:
        raise UserError(f"{path} is no valid YAML: {error}") from None
    if not isinstance(params, dict):
        raise UserError(f"{path} must hold a mapping of sections.")
    return params


def choice(params: dict[str, Any], key: str, legal: tuple[str, ...]) -> str:
    """The value of dotted ``key``, which must be one of ``legal``."""
    value = lookup(params, key)
    if value not in legal:
        raise UserError(f"{key} is {value!r}; legal values: {', '.join(legal)}.")
    return value


def lookup(params: dict[str, Any], key: str) -> Any:
    """The value of a dotted key such as ``data.simulate.seed``."""
    value: Any = params
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise UserError(f"{key} is missing from {PARAMS_FILE}.")
        value = value[part]
    return value


def whole(params: dict[str, Any], key: str, low: int, high: int) -> int:
    """The value of dotted ``key``, which must be a whole number from ``low`` to ``high``."""
    value = lookup(params, key)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UserError(f"{key} must be a whole number from {low:,} to {high:,}; got {value!r}.")
    return value


def names(params: dict[str, Any], key: str, legal: tuple[str, ...]) -> list[str]:
    """The value of dotted ``key``, which must be a list of one or more different names out of ``legal``."""
    value = lookup(params, key)
    known = isinstance(value, list) and all(name in legal for name in value)
    if not known or not value or len(set(value)) != len(value):
        raise UserError(
            f"{key} must be a list of one or more different names out of {', '.join(legal)}; got {value!r}."
        )
    return value


def unknown(key: str, name: Any, known: Collection[str]) -> UserError:
    """What to raise for ``name`` in the section ``key`` (empty: the file itself), which has the ``known`` params."""
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f"; did you mean {close[0]}?" if close else "."
    whole = f"{key}.{name}" if key else name
    return UserError(f"{whole} is no known param{hint} Known ones: {', '.join(known)}.")


def section(params: dict[str, Any], key: str, schema: type[T]) -> T:
    """Build the dataclass ``schema`` from the mapping at dotted ``key``.

    Types follow the annotations (a whole number passes as float, nothing else is converted). A ``__post_init__`` that
    raises ``ValueError("name: what is legal")`` checks ranges.

    Raises:
        UserError: an unknown or missing key, a wrong type, or a value out of range.
    """
    values = lookup(params, key)
    if not isinstance(values, dict):
        raise UserError(f"{key} must be a mapping; got {values!r}.")
    hints = get_type_hints(schema)
    fields = [field.name for field in dataclasses.fields(schema)]  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            raise unknown(key, name, fields)
    missing = [name for name in fields if name not in values]
    if missing:
        raise UserError(f"{key}.{missing[0]} is missing from {PARAMS_FILE}.")
    checked = {name: _typed(values[name], hints[name], f"{key}.{name}") for name in fields}
    try:
        return schema(**checked)
    except ValueError as error:
        raise UserError(f"{key}.{error}") from None


def _typed(value: Any, hint: Any, key: str) -> Any:
    """``value`` if it is of type ``hint``: a scalar, ``X | None``, ``list[X]`` or ``tuple[X, ...]`` of fixed length."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _typed(value, next(arg for arg in args if arg is not type(None)), key)
    if origin in (list, tuple):
        if not isinstance(value, list) or (origin is tuple and len(value) != len(args)):
            size = f"of {len(args)} values" if origin is tuple else "of values"
            raise UserError(f"{key} must be a list {size}; got {value!r}.")
        kinds = args if origin is tuple else args * len(value)
        return origin(
            _typed(item, kind, f"{key}[{i}]") for i, (item, kind) in enumerate(zip(value, kinds, strict=True))
        )
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise UserError(f"{key} must be of type {hint.__name__}; got {value!r}.")
    return value
