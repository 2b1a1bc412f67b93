"""Fusions on scenes of random size that take CILP's course, as those of ``train_fusion_course`` do, on more seeds.

Beside them, one that takes the course in part.
"""

import functools
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from more_seeds_networks import (
    AUXILIARY,
    RANDOM_SIZE,
    Runs,
    normalised,
    parts,
    protocol_on_random_sizes,
    random_size_test,
    said,
)
from torch import Tensor, nn

from cilp import packed, params
from cilp.classifiers import random_size
from cilp.classifiers.course import OneCycleParams, course_of
from cilp.classifiers.fusion_course import OwnParams, _he, train_fusion
from cilp.evaluation.models import BASELINES, DECISION
from cilp.models.decision import DecisionFusion
from cilp.models.normalised_fusion import build
from cilp.training.checkpoint import load_checkpoint, save_checkpoint
from cilp.training.classifier import train_classifier
from cilp.training.inputs import Split, load_split

OF_THE_STUDY = Path("models/fusion_course")
NETWORKS = Path("models/more_seeds")
"""Those that the study has not, kept, so that they can be asked again."""
WHOLE = "concat"
IN_PART = {
    "concat_unvaried": "neither mirrored nor coloured",
    "concat_default": "PyTorch's initialisation",
    "concat_he": "He initialisation alone",
}
"""``WHOLE`` with less than all of it. The last is trained as at half the learning rate, but for how it begins."""


def taking_the_course(
    settings: dict[str, Any], device: torch.device, further: int = 0, supervised: bool = False
) -> Runs:
    """All fusions of the study, trained so, on the scenes of ``on_random_sizes``; decision-level fusion asks two.

    With ``further``, they are tested on others instead: those of the simulator's seed and so many. With ``supervised``,
    each sensor has a loss of its own.
    """
    simulate = params.lookup(settings, "data.simulate")
    other = {**settings["data"], "simulate": {**simulate, "seed": simulate["seed"] + further}}
    test = random_size_test({**settings, "data": other}, device)
    splits = scenes(device)

    @functools.cache
    def logits(name: str, seed: int) -> Tensor:
        fusion, downsampling = parts(name)
        if fusion == DECISION:
            return sum(logits(f"fusion/{sensor}-{downsampling}", seed) for sensor in BASELINES)
        return said(network(name, seed, settings, *splits, supervised), test)

    return [], logits, test


def scenes(device: torch.device) -> tuple[Split, Split]:
    """That train, and that validate."""
    data = packed.load(RANDOM_SIZE)
    return load_split(data, "train", device), load_split(data, "val", device)


def network(
    name: str, seed: int, settings: dict[str, Any], train: Split, valid: Split, supervised: bool = False
) -> nn.Module:
    """A variant, such as ``fusion/late-strided``: the study's, if these params made it, or one trained here, once.

    Of decision-level fusion, the two that it asks. If ``supervised``, with a loss for each sensor.
    """
    fusion, downsampling = parts(name)
    if fusion == DECISION:
        asked = (f"fusion/{sensor}-{downsampling}" for sensor in BASELINES)
        return DecisionFusion(network(sensor, seed, settings, train, valid) for sensor in asked)
    base = WHOLE if fusion in IN_PART else fusion
    course = replace(course_of(settings), steps=random_size.sizes(settings).cilp_steps)
    protocol = params.section(settings, "image_classifier", OneCycleParams)
    own, arguments = OwnParams.of(settings, base), normalised(base, downsampling, settings)
    own = replace(own, auxiliary_losses=own.auxiliary_losses or supervised)
    if fusion == "concat_default":
        own = replace(own, initialisation="torch")
    elif fusion == "concat_unvaried":
        course = replace(course, mirror=False, permute_colours=False)
    plan = protocol_on_random_sizes(base, settings) if fusion == "concat_he" else None
    made_by = {**asdict(own), **asdict(plan)} if plan else {**asdict(course), **asdict(protocol), **asdict(own)}
    called = f"{name}-{AUXILIARY}" if supervised else name
    studys, path = (folder / called / f"seed-{seed}.pt" for folder in (OF_THE_STUDY, NETWORKS))
    for there in filter(Path.is_file, (studys, path)):
        model, kept = load_checkpoint(there, train.label.device)
        if kept["params"] == made_by:
            return model
    label = f"{fusion}-{downsampling}, {'a loss each, ' if supervised else ''}course, seed {seed}"
    if plan:
        model = train_classifier(lambda: build(**arguments).apply(_he), train, valid, plan, seed, label).model
    else:
        model = train_fusion(arguments, train, valid, course, protocol, own, seed, label).model
    save_checkpoint(path, model, "normalised_fusion", arguments, made_by, seed)
    return model
