"""The whole of ``params.yaml`` as one typed schema, so that whatever is wrong in it is refused before any stage works.

Each stage types the sections that it reads in the same way; here they come together, with what only holds between them.
"""

import difflib
import math
import re
from collections.abc import Collection, Iterator
from copy import deepcopy
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from cilp import params
from cilp.classifiers.fusion import FusionProtocol
from cilp.contrastive.pretraining import CilpParams
from cilp.contrastive.projection import ProjectorParams
from cilp.errors import UserError
from cilp.evaluation.audit import CONDITION, AuditParams, conditions
from cilp.evaluation.failures import FailureParams
from cilp.evaluation.significance import SignificanceParams
from cilp.models.blocks import DOWNSAMPLINGS
from cilp.models.embedder import EmbedderParams
from cilp.models.fusion import FUSIONS
from cilp.raw.folder import FolderParams
from cilp.raw.hub import HubParams
from cilp.raw.kaggle import KaggleParams
from cilp.raw.simulate import MOST_SCENES
from cilp.sensors import MAX_RANGE
from cilp.simulation.scenes import SimulateParams
from cilp.subset.splits import SplitParams
from cilp.tracking import MODES
from cilp.training.classifier import TrainingParams
from cilp.training.device import DEVICES
from cilp.training.seeds import check_seeds

MOST_UNLABELLED = 100_000
MOST_PAIRS = 10**9
RECIPE = ("title", "cilp", "embedder")
MOST_BYTES, MOST_VALUES, DEEPEST, LONGEST = 100_000, 10_000, 8, 1000
"""Far more than ``params.yaml`` needs: bytes, values with every alias written out, how deep they are nested, and the
length of one text or list."""
LARGEST = 2**63 - 1
FLOATS = (1e-30, 1e30)
"""Sizes that a 32-bit float holds with room to calculate."""
UNREADABLE = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError)
"""What PyYAML raises for a scalar that looks like a date or number, or claims to be one, and is none."""


@dataclass(frozen=True)
class SceneParams(SimulateParams):
    """The section ``data.simulate``; a length that alone exceeds the LiDAR's range is named itself."""

    def __post_init__(self) -> None:
        for name in ("cube_edge", "sphere_radius", "distance", "lateral"):
            value = getattr(self, name)
            lengths = value if isinstance(value, tuple) else (value,)
            if not all(length < MAX_RANGE for length in lengths):
                shown = list(value) if isinstance(value, tuple) else value
                raise ValueError(f"{name} must be less than the LiDAR's {MAX_RANGE:g} m; got {shown}.")
        super().__post_init__()


SOURCES = {"simulate": SceneParams, "folder": FolderParams, "kaggle": KaggleParams, "hub": HubParams}
"""What ``data.source`` may be, and what the section of ``data`` of that name holds."""


@dataclass(frozen=True)
class DataParams(SplitParams):
    """The section ``data`` without the sections of its sources."""

    source: str
    scenes: int
    unlabelled: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source not in SOURCES:
            raise ValueError(f"source is {self.source!r}; legal values: {', '.join(SOURCES)}.")
        for name, low, high in (
            ("scenes", 1, MOST_SCENES),
            ("subset", 2, MOST_SCENES),
            ("test", 1, MOST_SCENES),
            ("unlabelled", 0, MOST_UNLABELLED),
            ("split_seed", 0, 2**32 - 1),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be a whole number from {low:,} to {high:,}; got {getattr(self, name)}.")
        if not 0 <= self.valid_fraction <= 1 or not 0 < self.valid < self.subset:
            raise ValueError(
                f"valid_fraction must leave at least one of {self.subset} scenes to train and one to validate; got "
                f"{self.valid_fraction}."
            )
        if self.source == "simulate" and self.scenes < self.subset + self.test:
            raise ValueError(
                f"scenes is {self.scenes}, but data.subset and data.test ask for {self.subset + self.test}; raise it "
                "or lower them."
            )

    @property
    def valid(self) -> int:
        """Scenes that validate, of the ``subset``."""
        return round(self.subset * self.valid_fraction)


@dataclass(frozen=True)
class TrackingParams:
    """The section ``tracking``."""

    mode: str
    project: str
    entity: str | None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode is {self.mode!r}; legal values: {', '.join(MODES)}.")
        if not re.fullmatch(r"[^/\\#?%:]{1,128}", self.project) or not self.project.isprintable():
            raise ValueError(f"project must be of 1 to 128 characters other than / \\ # ? % :; got {self.project!r}.")
        if self.entity is not None and not re.fullmatch(r"[\w.-]+", self.entity):
            raise ValueError(f"entity must be null or a name of letters, digits, ., - and _; got {self.entity!r}.")


@dataclass(frozen=True)
class VariantParams:
    """The section ``variants``."""

    fusion: list[str]
    downsampling: list[str]

    def __post_init__(self) -> None:
        for name, legal in (("fusion", FUSIONS), ("downsampling", DOWNSAMPLINGS)):
            value = getattr(self, name)
            if not value or len(set(value)) != len(value) or not set(value) <= set(legal):
                raise ValueError(
                    f"{name} must be a list of one or more different names out of {', '.join(legal)}; got {value}."
                )


@dataclass(frozen=True)
class AblationParams:
    """The section ``cilp_ablation`` without its recipes."""

    pairs: int

    def __post_init__(self) -> None:
        if not 1 <= self.pairs <= MOST_PAIRS:
            raise ValueError(f"pairs must be a whole number from 1 to {MOST_PAIRS:,}; got {self.pairs}.")


SECTIONS: dict[str, type] = {
    "variants": VariantParams,
    "embedder": EmbedderParams,
    "lidar": TrainingParams,
    "cilp": CilpParams,
    "projector": ProjectorParams,
    "rgb2lidar": TrainingParams,
    "significance": SignificanceParams,
    "sensor_failures": FailureParams,
    "tracking": TrackingParams,
}


def check(settings: dict[str, Any]) -> None:
    """Refuse ``settings``, the content of ``params.yaml``, unless every stage can work with it.

    Raises:
        UserError: a section or param is unknown, missing, of the wrong type or out of range, or two contradict each
            other; the message names key, value and what is legal.
    """
    _check_plain(settings)
    _only(settings, "", {"data", "seeds", "device", "fusion", "cilp_ablation", "audit", *SECTIONS})
    data = _section(settings, "data", DataParams, SOURCES)
    for source, schema in SOURCES.items():
        params.section(settings, f"data.{source}", schema)
    if data.source == "folder":
        params.section(settings, "data.folder", FolderParams).source()
    check_seeds(params.lookup(settings, "seeds"))
    params.choice(settings, "device", DEVICES)
    sections = {key: params.section(settings, key, schema) for key, schema in SECTIONS.items()}
    _only(params.lookup(settings, "fusion"), "fusion", FUSIONS)
    sections |= {f"fusion.{name}": params.section(settings, f"fusion.{name}", FusionProtocol) for name in FUSIONS}
    recipes = _check_ablation(settings)
    _check_audit(settings)
    if data.source == "simulate":
        _check_batches(data, sections | recipes)
    _check_floats(settings)


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
            raise UserError(f"{_shown(key)} is nested too deep; at most {DEEPEST} levels are legal.")
        if isinstance(node, yaml.SequenceNode):
            todo += [(f"{key}[{i}]", item, depth + 1) for i, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for name, value in node.value:
                whole = f"{key}.{name.value}".lstrip(".") if isinstance(name, yaml.ScalarNode) else key
                if not isinstance(name, yaml.ScalarNode):
                    raise UserError(f"{_shown(key or str(params.PARAMS_FILE))} has a key that is no text.")
                line = name.start_mark.line + 1
                if name.value in lines:
                    raise UserError(f"{_shown(whole)} stands twice, in lines {lines[name.value]} and {line}; keep one.")
                lines[name.value] = line
                todo += [(whole, name, depth + 1), (whole, value, depth + 1)]
        elif node.tag != "tag:yaml.org,2002:merge":
            try:
                loader.construct_object(node)
            except UNREADABLE:
                kind = node.tag.rpartition(":")[2]
                raise UserError(
                    f"{_shown(key)} is {_shown(node.value)}, which cannot be read as {_shown(kind)}; put a text into "
                    "quotes."
                ) from None


def _in_short(error: Exception) -> str:
    """What a parser says, in one line."""
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    mark = getattr(error, "problem_mark", None)
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return _shown(" ".join(str(what).split())) + place


def _shown(text: str) -> str:
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


def _check_plain(settings: Any) -> None:
    """Refuse what is no plain value, and what is too large to be quoted in a sentence."""
    todo, count = [("", settings, 0)], 0
    while todo:
        key, value, depth = todo.pop()
        count += 1
        if count > MOST_VALUES:
            raise UserError(f"{params.PARAMS_FILE} has over {MOST_VALUES:,} values; use fewer.")
        if depth > DEEPEST:
            raise UserError(f"{_shown(key)} is nested too deep; at most {DEEPEST} levels are legal.")
        if isinstance(value, dict):
            for name, item in value.items():
                if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 100:
                    raise UserError(
                        f"{_shown(key or str(params.PARAMS_FILE))} has the key {_shown(repr(name))}; legal are names "
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


def _check_floats(settings: dict[str, Any]) -> None:
    """Refuse numbers that training, in 32 bits, would take for 0 or for infinity."""
    low, high = FLOATS
    for key, value in _leaves(settings):
        if isinstance(value, float) and value and not low <= abs(value) <= high:
            raise UserError(f"{key} must be 0, or in size from {low:g} to {high:g}; got {value}.")


def _check_ablation(settings: dict[str, Any]) -> dict[str, CilpParams]:
    """The params of ``cilp`` in each recipe."""
    _section(settings, "cilp_ablation", AblationParams, ["recipes"])
    recipes = params.lookup(settings, "cilp_ablation.recipes")
    if not isinstance(recipes, dict) or not recipes:
        raise UserError(f"cilp_ablation.recipes must hold one or more recipes; got {recipes!r}.")
    found = {}
    for name, recipe in recipes.items():
        key = f"cilp_ablation.recipes.{name}"
        if not re.fullmatch(r"[\w-]+", str(name)):
            raise UserError(f"{key} must be named in letters, digits, - and _, since files are named after it.")
        _only(recipe, key, RECIPE)
        title = recipe.get("title", name)
        if not isinstance(title, str) or not title.isprintable() or not title.strip() or "|" in title:
            raise UserError(f"{key}.title must be a text of one line, without |; got {title!r}.")
        changed: dict[str, Any] = {}
        place = {"cilp_ablation": {"recipes": {name: changed}}}  # so that a message names the recipe
        for section, schema in (("cilp", CilpParams), ("embedder", EmbedderParams)):
            change = recipe.get(section, {})
            _only(change, f"{key}.{section}", [field.name for field in fields(schema)])
            changed[section] = {**deepcopy(settings[section]), **change}
        found[f"{key}.cilp"] = params.section(place, f"{key}.cilp", CilpParams)
        params.section(place, f"{key}.embedder", EmbedderParams)
    return found


def _check_audit(settings: dict[str, Any]) -> None:
    """Type every condition of the audit as its stage does."""
    _section(settings, "audit", AuditParams, ["conditions"])
    declared = params.lookup(settings, "audit.conditions")
    for name, condition in declared.items() if isinstance(declared, dict) else ():
        _only(condition, f"audit.conditions.{name}", CONDITION)
        change = condition.get("simulate", {})
        _only(change, f"audit.conditions.{name}.simulate", [field.name for field in fields(SimulateParams)])
    conditions(settings)


def _check_batches(data: DataParams, sections: dict[str, Any]) -> None:
    """Refuse a batch that is larger than what there is to train on, cube and sphere of each scene."""
    drawn = 2 * (data.subset - data.valid)
    pool = 2 * (data.scenes - data.subset - data.test + data.unlabelled)
    for key, section in sections.items():
        if not hasattr(section, "batch_size"):
            continue
        samples = drawn + (pool if getattr(section, "unlabelled", False) else 0)
        if section.batch_size > samples:
            raise UserError(
                f"{key}.batch_size is {section.batch_size}, but there are {samples} training samples; lower it."
            )


def _section(settings: dict[str, Any], key: str, schema: type, nested: Collection[str]) -> Any:
    """A section that holds further ones beside its own params."""
    values = params.lookup(settings, key)
    if isinstance(values, dict):
        values = {name: value for name, value in values.items() if name not in nested}
    return params.section({key: values}, key, schema)


def _only(values: Any, key: str, known: Collection[str]) -> None:
    """Refuse a mapping with keys that are not ``known``."""
    if not isinstance(values, dict):
        raise UserError(f"{key or params.PARAMS_FILE} must be a mapping; got {values!r}.")
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            whole = f"{key}.{name}" if key else name
            raise UserError(f"{whole} is no known param; {hint}Known ones: {', '.join(sorted(known))}.")
