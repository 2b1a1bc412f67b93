"""The whole of ``params.yaml`` as one typed schema, so that whatever is wrong in it is refused before any stage works.

Each stage types the sections that it reads in the same way; here they come together, with what only holds between them.
"""

import re
from collections.abc import Collection
from copy import deepcopy
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cilp import params
from cilp.classifiers.course import OneCycleParams
from cilp.classifiers.fewer_scenes import protocol_of
from cilp.classifiers.fusion import FusionProtocol
from cilp.classifiers.random_size import PretrainingParams, sizes
from cilp.classifiers.trainings import seeds_of
from cilp.contrastive.pretraining import CilpParams
from cilp.contrastive.projection import ProjectorParams
from cilp.errors import UserError
from cilp.evaluation.audit import CONDITION, conditions, scenes_of
from cilp.evaluation.failures import FailureParams
from cilp.evaluation.models import BASELINES, DECISION
from cilp.evaluation.significance import SignificanceParams
from cilp.models.embedder import EmbedderParams
from cilp.models.fusion import FUSIONS, TwoEncoders, kind, with_two_encoders
from cilp.models.layers.blocks import DOWNSAMPLINGS
from cilp.plain_yaml import check_floats, check_plain
from cilp.raw.folder import FolderParams
from cilp.raw.hub import HubParams
from cilp.raw.kaggle import KaggleParams
from cilp.raw.layout import INDICES
from cilp.raw.simulate import MOST_SCENES, MOST_UNLABELLED
from cilp.sensors import MAX_RANGE
from cilp.simulation.scenes import SimulateParams
from cilp.simulation.varied import of_random_size
from cilp.subset.splits import SplitParams
from cilp.tracking import MODES
from cilp.training.classifier import TrainingParams
from cilp.training.device import DEVICES
from cilp.training.seeds import check_seeds

MOST_PAIRS = 10**9
RECIPE = ("title", "cilp", "embedder")


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
        most = MOST_SCENES if self.source == "simulate" else INDICES
        for name, low, high in (
            ("scenes", 1, MOST_SCENES),
            ("subset", 2, most),
            ("test", 1, most),
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
        if DECISION in self.fusion:
            raise ValueError(
                f"fusion must not hold {DECISION}: decision-level fusion has no training, and is evaluated where "
                f"{' and '.join(BASELINES)} are listed; a module of that name needs another."
            )
        for name, legal in (("fusion", FUSIONS), ("downsampling", DOWNSAMPLINGS)):
            value = getattr(self, name)
            if not value or len(set(value)) != len(value) or not set(value) <= set(legal):
                raise ValueError(
                    f"{name} must be a list of one or more different names out of {', '.join(legal)}; got {value}."
                )


@dataclass(frozen=True)
class ModalityDropoutParams:
    """The section ``modality_dropout``."""

    fusion: list[str]
    rate: float

    def __post_init__(self) -> None:
        if len(set(self.fusion)) != len(self.fusion) or not set(self.fusion) <= set(FUSIONS):
            raise ValueError(f"fusion must be different names out of {', '.join(FUSIONS)}; got {self.fusion}.")
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate must be above 0 and at most 1; got {self.rate}.")


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
    "image_classifier": OneCycleParams,
    "projector": ProjectorParams,
    "rgb2lidar": TrainingParams,
    "modality_dropout": ModalityDropoutParams,
    "significance": SignificanceParams,
    "sensor_failures": FailureParams,
    "tracking": TrackingParams,
}


EMPTIED = (Path("data/raw"), Path("data/subset"))
"""Folders that stages write, in which a user might keep data."""
NESTED = (
    "data", "seeds", "device", "fusion", "random_size", "fusion_course", "data_efficiency", "cilp_ablation", "audit",
)  # fmt: skip
"""Params and sections that are checked one by one."""


def check(settings: dict[str, Any]) -> None:
    """Refuse ``settings``, the content of ``params.yaml``, unless every stage can work with it.

    Raises:
        UserError: a section or param is unknown, missing, of the wrong type or out of range, or two contradict each
            other; the message names key, value and what is legal.
    """
    check_plain(settings)
    _only(settings, "", {*SECTIONS, *NESTED})
    data = _section(settings, "data", DataParams, SOURCES)
    for source, schema in SOURCES.items():
        params.section(settings, f"data.{source}", schema)
    if data.source == "folder":
        _check_place(params.section(settings, "data.folder", FolderParams).source())
    check_seeds(params.lookup(settings, "seeds"))
    params.choice(settings, "device", DEVICES)
    sections = {key: params.section(settings, key, schema) for key, schema in SECTIONS.items()}
    _only(params.lookup(settings, "fusion"), "fusion", FUSIONS)
    fusions = {f"fusion.{name}": params.section(settings, f"fusion.{name}", FusionProtocol) for name in FUSIONS}
    for key, protocol in fusions.items():
        if protocol.auxiliary_losses and not _has_two_encoders(key.removeprefix("fusion.")):
            raise UserError(
                f"{key}.auxiliary_losses is True, which is legal where each sensor has an encoder: "
                f"{', '.join(with_two_encoders())}."
            )
    dropout = sections["modality_dropout"]
    for name in dropout.fusion:  # as its stage has them
        given = {**params.lookup(settings, f"fusion.{name}"), "modality_dropout": dropout.rate}
        params.section({"fusion": {name: given}}, f"fusion.{name}", FusionProtocol)
    sections |= fusions
    recipes = _check_ablation(settings)
    pretraining = _check_random_size(settings)
    _check_fusion_course(settings)
    _check_audit(settings)
    labelled = _check_data_efficiency(settings, data)
    if data.source == "simulate":
        _check_batches(data, sections | recipes)
    if seeds_of(settings, "random_size"):
        samples, pairs = 2 * sizes(settings).train, 2 * pretraining.unlabelled
        for key, section in sections.items():
            if key.startswith("fusion.") or key in ("lidar", "projector", "rgb2lidar"):
                _check_batch(key, section.batch_size, samples, "random_size.train")
        _check_batch("cilp", sections["cilp"].batch_size, samples + pairs, "random_size.train and .pretraining")
        if max(labelled, default=0) > sizes(settings).train:
            raise UserError(
                f"data_efficiency.scenes asks for {max(labelled)} scenes, but {sizes(settings).train} of random size "
                "train; lower it or raise random_size.train."
            )
    check_floats(settings)


def _check_place(source: Path) -> None:
    """Refuse a tree where stages write: DVC empties their folders before they run."""
    for written in EMPTIED:
        try:
            there, out = source.resolve(), written.resolve()
        except OSError:
            return  # the stage says what is wrong with it
        if there.is_relative_to(out) or out.is_relative_to(there):
            raise UserError(
                f"data.folder.path: {source} overlaps with {written}, which is emptied before it is written; it must "
                "lie elsewhere: move it first."
            )


def _check_ablation(settings: dict[str, Any]) -> dict[str, CilpParams]:
    """The params of ``cilp`` in each recipe."""
    _section(settings, "cilp_ablation", AblationParams, ["recipes"])
    recipes = params.lookup(settings, "cilp_ablation.recipes")
    if not isinstance(recipes, dict) or not recipes:
        raise UserError(f"cilp_ablation.recipes must hold one or more recipes; got {recipes!r}.")
    found = {}
    for name, recipe in recipes.items():
        key = f"cilp_ablation.recipes.{name}"
        if not re.fullmatch(r"\w[\w-]*", str(name)):
            raise UserError(
                f"{key} must be named in letters, digits, - and _, not - first, since files are named after it."
            )
        _only(recipe, key, RECIPE)
        title = recipe.get("title", name)
        if not isinstance(title, str) or not title.isprintable() or not title.strip() or "|" in title:
            raise UserError(f"{key}.title must be a text of one line, without |; got {title!r}.")
        changed: dict[str, Any] = {}
        place = {"cilp_ablation": {"recipes": {name: changed}}}  # so that a message names the recipe
        for section, schema in (("cilp", CilpParams), ("embedder", EmbedderParams)):
            change = recipe.get(section, {})
            _only(change, f"{key}.{section}", [field.name for field in fields(schema)])
            if section == "cilp" and "steps" in change:
                raise UserError(f"{key}.cilp.steps follows from cilp_ablation.pairs, of which all recipes see as many.")
            changed[section] = {**deepcopy(settings[section]), **change}
        found[f"{key}.cilp"] = params.section(place, f"{key}.cilp", CilpParams)
        params.section(place, f"{key}.embedder", EmbedderParams)
    return found


def _has_two_encoders(fusion: str) -> bool:
    """Asked of those alone that need them: a module that is being written concerns nobody else."""
    return issubclass(kind(fusion), TwoEncoders)


def _check_audit(settings: dict[str, Any]) -> None:
    """Type every condition of the audit as its stage does."""
    _only(params.lookup(settings, "audit"), "audit", ["scenes", "conditions"])
    scenes_of(settings)
    declared = params.lookup(settings, "audit.conditions")
    for name, condition in declared.items() if isinstance(declared, dict) else ():
        _only(condition, f"audit.conditions.{name}", CONDITION)
        change = condition.get("simulate", {})
        _only(change, f"audit.conditions.{name}.simulate", [field.name for field in fields(SimulateParams)])
    conditions(settings)


def _check_random_size(settings: dict[str, Any]) -> PretrainingParams:
    """Type the section as its stages do; how CILP is pretrained there."""
    _check_auxiliary_losses("random_size", sizes(settings).auxiliary_losses)
    seeds_of(settings, "random_size")
    change = params.lookup(settings, "random_size.simulate")
    _only(change, "random_size.simulate", [field.name for field in fields(SimulateParams)])
    of_random_size(settings)
    return params.section(settings, "random_size.pretraining", PretrainingParams)


def _check_fusion_course(settings: dict[str, Any]) -> None:
    """Type the section as its stages do."""
    _only(params.lookup(settings, "fusion_course"), "fusion_course", ["seeds", "auxiliary_losses"])
    seeds_of(settings, "fusion_course")
    _check_auxiliary_losses("fusion_course", params.lookup(settings, "fusion_course.auxiliary_losses"))


def _check_auxiliary_losses(section: str, asked: Any) -> None:
    """Refuse what is no list of fusions that can have them."""
    legal = isinstance(asked, list) and len({str(name) for name in asked}) == len(asked)
    if not legal or not all(name in FUSIONS and _has_two_encoders(name) for name in asked):
        names = ", ".join(with_two_encoders())
        raise UserError(f"{section}.auxiliary_losses must be different names out of {names}; got {asked}.")


def _check_data_efficiency(settings: dict[str, Any], data: DataParams) -> list[int]:
    """Refuse a fusion that there is not, and more scenes than train; on how many scenes it is trained."""
    asked, _ = protocol_of(settings)
    if asked.fusion not in FUSIONS:
        raise UserError(f"data_efficiency.fusion is {asked.fusion!r}; legal values: {', '.join(FUSIONS)}.")
    there = data.subset - data.valid
    known = data.source == "simulate" or data.splits == "drawn"  # else a source may say which scenes train
    if known and max(asked.scenes, default=0) > there:
        raise UserError(
            f"data_efficiency.scenes asks for {max(asked.scenes)} scenes, but {there} train; lower it or raise "
            "data.subset."
        )
    return asked.scenes


def _check_batches(data: DataParams, sections: dict[str, Any]) -> None:
    """Refuse a batch that is larger than what there is to train on, cube and sphere of each scene."""
    drawn = 2 * (data.subset - data.valid)
    pool = 2 * (data.scenes - data.subset - data.test + data.unlabelled)
    for key, section in sections.items():
        if not hasattr(section, "batch_size"):
            continue
        _check_batch(key, section.batch_size, drawn + (pool if getattr(section, "unlabelled", False) else 0))


def _check_batch(key: str, batch_size: int, samples: int, source: str = "") -> None:
    if batch_size > samples:
        of = f" of {source}" if source else ""
        raise UserError(f"{key}.batch_size is {batch_size}, but there are {samples} training samples{of}; lower it.")


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
            raise params.unknown(key, name, sorted(known))
