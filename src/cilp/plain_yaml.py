"""Reads ``params.yaml`` and is not taken in by too much of it, keys that stand twice, or values in disguise.

What any param may be is left to ``cilp.schema``.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cilp import params
from cilp.errors import UserError

MOST_BYTES, MOST_VALUES, DEEPEST, LONGEST = 100_000, 10_000, 8, 1000
"""Far more than ``params.yaml`` needs: bytes, values with every alias written out, how deep they are nested, and the
length of one text or list."""
LARGEST = 2**63 - 1
FLOATS = (1e-30, 1e30)
"""Sizes that a 32-bit float holds with room to calculate."""
OF_ANOTHER_BASE = re.compile(r"[-+]?0[\d_]|[-+]?0b|.*:")
"""Whole numbers of YAML 1.1, which PyYAML reads (octal, binary and sexagesimal), that are others in DVC's YAML 1.2."""
UNREADABLE = (yaml.YAMLError, *params.UNREADABLE)
"""What PyYAML raises for a scalar that is not what it looks like or claims to be."""


def read(path: Path = params.PARAMS_FILE) -> dict[str, Any]:
    """Parse a params file as ``params.load`` does, and refuse what that takes in silence, or with many words, or never.

    Raises:
        UserError: the file is missing, is no UTF-8, no YAML or no mapping, is far too large (with every alias written
            out, so that few lines cannot become a billion values), or names a key twice, of which the last would win.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run from the repository's root.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); make it a readable file.") from None
    if len(content) > MOST_BYTES:
        raise UserError(f"{path} has {len(content):,} bytes; at most {MOST_BYTES:,} are legal.")
    try:
        loader = params._Loader(content.decode("utf-8"))
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise UserError(f"{path} must hold a mapping of sections.")
        _check_nodes(loader, root)
        try:
            return loader.construct_document(root)
        except UNREADABLE as error:
            raise UserError(f"{path} holds a value that is not what its tag says ({_in_short(error)}).") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8 text from byte {error.start:,} on; save it as UTF-8.") from None
    except RecursionError:
        raise UserError(f"{path} is nested too deep; at most {DEEPEST} levels are legal.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no valid YAML: {_in_short(error)}.") from None


def _check_nodes(loader: yaml.SafeLoader, root: yaml.Node) -> None:
    """Refuse keys that stand twice in one mapping, too many values, and scalars that are not what they claim to be."""
    todo, count = [("", root, 0)], 0
    while todo:
        key, node, depth = todo.pop()
        count += 1
        if count > MOST_VALUES:
            raise UserError(f"{params.PARAMS_FILE} has over {MOST_VALUES:,} values, aliases written out; use fewer.")
        if depth > DEEPEST:
            raise UserError(f"{shown(key)} is nested too deep; at most {DEEPEST} levels are legal.")
        if isinstance(node, yaml.SequenceNode):
            todo += [(f"{key}[{i}]", item, depth + 1) for i, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for name, value in node.value:
                whole = f"{key}.{name.value}".lstrip(".") if isinstance(name, yaml.ScalarNode) else key
                if not isinstance(name, yaml.ScalarNode):
                    raise UserError(f"{shown(key or str(params.PARAMS_FILE))} has a key that is no text.")
                line = name.start_mark.line + 1
                if name.value in lines:
                    raise UserError(f"{shown(whole)} stands twice, in lines {lines[name.value]} and {line}; keep one.")
                lines[name.value] = line
                todo += [(whole, name, depth + 1), (whole, value, depth + 1)]
        elif node.tag != "tag:yaml.org,2002:merge":
            try:
                loader.construct_object(node)
            except UNREADABLE:
                kind = node.tag.rpartition(":")[2]
                raise UserError(
                    f"{shown(key)} is {shown(node.value)}, which cannot be read as {shown(kind)}; put a text into "
                    "quotes."
                ) from None
            if node.tag == "tag:yaml.org,2002:int" and OF_ANOTHER_BASE.match(node.value):
                raise UserError(
                    f"{shown(key)} is {shown(node.value)}, which DVC reads as another number than Python does; legal "
                    "are whole numbers without a leading zero and without colons."
                )


def _in_short(error: Exception) -> str:
    """What a parser says, in one line."""
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    mark = getattr(error, "problem_mark", None)
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return shown(" ".join(str(what).split())) + place


def shown(text: str) -> str:
    """A text of others in one short line."""
    text = text if text and text.isprintable() else repr(text)
    return text if len(text) <= 100 else f"{text[:80]}... ({len(text):,} characters)"


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that holds no others, with its dotted key."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _leaves(item, f"{key}[{i}]")
    else:
        yield key, value


def check_plain(settings: Any) -> None:
    """Refuse what is no plain value, and what is too large to be quoted in a sentence."""
    todo, count = [("", settings, 0)], 0
    while todo:
        key, value, depth = todo.pop()
        count += 1
        if count > MOST_VALUES:
            raise UserError(f"{params.PARAMS_FILE} has over {MOST_VALUES:,} values; use fewer.")
        if depth > DEEPEST:
            raise UserError(f"{shown(key)} is nested too deep; at most {DEEPEST} levels are legal.")
        if isinstance(value, dict):
            for name, item in value.items():
                if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 100:
                    raise UserError(
                        f"{shown(key or str(params.PARAMS_FILE))} has the key {shown(repr(name))}; legal are names "
                        "of 1 to 100 printable characters, in quotes if they look like a number."
                    )
                todo.append((f"{key}.{name}" if key else name, item, depth + 1))
        elif isinstance(value, list):
            if len(value) > LONGEST:
                raise UserError(f"{key} must have at most {LONGEST:,} items; got {len(value):,}.")
            todo += [(f"{key}[{i}]", item, depth + 1) for i, item in enumerate(value)]
        elif isinstance(value, str):
            if len(value) > LONGEST:
                raise UserError(f"{key} must have at most {LONGEST:,} characters; got {len(value):,}.")
        elif isinstance(value, int):
            if abs(value) > LARGEST:
                digits = math.floor(value.bit_length() * math.log10(2)) + 1
                raise UserError(f"{key} must be a whole number below 2**63; got one of about {digits:,} digits.")
        elif value is not None and not isinstance(value, float):
            raise UserError(
                f"{key} is of type {type(value).__name__}; legal are numbers, texts, true, false, null, lists and "
                "mappings, and a text in quotes if it looks like a date."
            )


def check_floats(settings: dict[str, Any]) -> None:
    """Refuse numbers that training, in 32 bits, would take for 0 or for infinity."""
    low, high = FLOATS
    for key, value in _leaves(settings):
        if isinstance(value, float) and value and not low <= abs(value) <= high:
            raise UserError(f"{key} must be 0, or in size from {low:g} to {high:g}; got {value}.")
