"""What is said against params, and that what is not objected to is taken by the stages: for the tests that try many."""

import os
import re

from clone import ROOT

from cilp import params
from cilp.classifiers import fewer_scenes, random_size, trainings
from cilp.classifiers.fusion import FusionProtocol
from cilp.contrastive.pretraining import CilpParams
from cilp.contrastive.projection import ProjectorParams
from cilp.errors import UserError
from cilp.evaluation.audit import conditions
from cilp.evaluation.failures import FailureParams
from cilp.evaluation.significance import SignificanceParams
from cilp.models.embedder import EmbedderParams
from cilp.models.fusion import FUSIONS, TwoEncoders, kind
from cilp.models.layers.blocks import DOWNSAMPLINGS
from cilp.raw.folder import FolderParams
from cilp.raw.hub import HubParams
from cilp.raw.kaggle import KaggleParams
from cilp.raw.layout import INDICES
from cilp.raw.simulate import MOST_SCENES
from cilp.schema import check
from cilp.simulation.scenes import SimulateParams
from cilp.simulation.varied import of_random_size
from cilp.subset.splits import CHOICES
from cilp.tracking import MODES
from cilp.training.classifier import TrainingParams
from cilp.training.device import DEVICES
from cilp.training.seeds import check_seeds

CASES = int(os.environ.get("CILP_FUZZ", "2000"))
SEED = 51 if CASES == 2000 else CASES
TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
DEFAULTS = params.load(ROOT / "params.yaml")


def take(settings):
    """Type ``settings`` as the stages do, each by its own dataclass and its own checks, and not by the schema."""
    source = params.choice(settings, "data.source", ("simulate", "folder", "kaggle", "hub"))
    for key in ("subset", "test", "scenes"):
        most = MOST_SCENES if source == "simulate" or key == "scenes" else INDICES
        params.whole(settings, f"data.{key}", 1, most)
    data = settings["data"]
    assert 0 < round(data["subset"] * data["valid_fraction"]) < data["subset"]
    assert data["splits"] in CHOICES and data["split_seed"] >= 0 and data["unlabelled"] >= 0
    assert source != "simulate" or data["scenes"] >= data["subset"] + data["test"]
    for key, schema in (
        ("data.simulate", SimulateParams),
        ("data.folder", FolderParams),
        ("data.kaggle", KaggleParams),
        ("data.hub", HubParams),
        ("embedder", EmbedderParams),
        ("lidar", TrainingParams),
        ("cilp", CilpParams),
        ("projector", ProjectorParams),
        ("rgb2lidar", TrainingParams),
        ("significance", SignificanceParams),
        ("sensor_failures", FailureParams),
        ("data_efficiency.head", TrainingParams),
        *((f"fusion.{name}", FusionProtocol) for name in FUSIONS),
    ):
        params.section(settings, key, schema)
    if source == "folder":
        params.section(settings, "data.folder", FolderParams).source()
    check_seeds(params.lookup(settings, "seeds"))
    params.choice(settings, "device", DEVICES)
    params.choice(settings, "tracking.mode", MODES)
    params.names(settings, "variants.fusion", tuple(FUSIONS))
    params.names(settings, "variants.downsampling", DOWNSAMPLINGS)
    params.whole(settings, "cilp_ablation.pairs", 1, 10**9)
    params.whole(settings, "audit.scenes", 1, 100_000)
    conditions(settings)
    sizes = random_size.sizes(settings)
    for name in FUSIONS:
        sizes.slowed(params.section(settings, f"fusion.{name}", FusionProtocol))
    for section in ("random_size", "fusion_course"):
        trainings.seeds_of(settings, section)
    for name in settings["fusion_course"]["auxiliary_losses"]:
        assert issubclass(kind(name), TwoEncoders)
    of_random_size(settings)
    params.section(settings, "random_size.pretraining", random_size.PretrainingParams)
    fewer_scenes.protocol_of(settings)
    assert settings["data_efficiency"]["fusion"] in FUSIONS and set(settings["modality_dropout"]["fusion"]) <= set(
        FUSIONS
    )
    for name, recipe in settings["cilp_ablation"]["recipes"].items():
        assert isinstance(recipe.get("title", name), str)
        for section, schema in (("cilp", CilpParams), ("embedder", EmbedderParams)):
            params.section({section: settings[section] | recipe.get(section, {})}, section, schema)


def said(settings):
    """What the check says against ``settings``, one sentence; None if it accepts them, and then the stages do."""
    try:
        check(settings)
    except UserError as error:
        text = str(error)
        assert text.isprintable() and text.endswith(".") and 10 < len(text) < 12_000, text
        assert re.search(r"\b(must|legal|missing|no known|keep|lower|at most|needs|is empty)\b", text), text
        return text
    take(settings)
    return None
