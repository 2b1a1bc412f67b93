"""Fusions on scenes of random size that take CILP's course, as those of ``train_fusion_course`` do, on more seeds.

Beside them, one that takes the course in part.
"""

import functools
import hashlib
import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from more_seeds_networks import (
    AUXILIARY,
    RANDOM_SIZE,
    Runs,
    logits_on,
    normalised,
    parts,
    protocol_on_random_sizes,
    random_size_test,
    registered,
)
from torch import Tensor, nn

from cilp import packed, params
from cilp.classifiers import random_size
from cilp.classifiers.course import OneCycleParams, course_of
from cilp.classifiers.fusion_course import OwnParams, train_fusion
from cilp.evaluation.models import asked
from cilp.models.decision import DecisionFusion
from cilp.models.embedder import initialise
from cilp.models.normalised_fusion import build
from cilp.packing import pack_scenes
from cilp.simulation.processes import rendering
from cilp.simulation.varied import of_random_size
from cilp.training.checkpoint import load_checkpoint, save_checkpoint
from cilp.training.classifier import train_classifier
from cilp.training.device import describe
from cilp.training.inputs import Split, load_split
from cilp.training.loop import Run

OF_THE_STUDY = Path("models/fusion_course")
NETWORKS = Path("models/more_seeds")
"""Those that the study has not, kept by the scenes and the machine that made them and the unit of their XYZ, so that
they can be asked again."""
WHOLE = "concat"
IN_PART = {
    "concat_unvaried": "neither mirrored nor coloured",
    "concat_default": "PyTorch's initialisation",
    "concat_he": "He initialisation alone",
}
"""``WHOLE`` with less than all of it. The last is trained as at half the learning rate, but for how it begins."""
RESCALED = {"early_fine": 1.5, "early_coarse": 15.0}
"""Early fusion with another unit of its XYZ, in metres, than ``embedder.xyz_scale``."""


def taking_the_course(
    settings: dict[str, Any],
    device: torch.device,
    auxiliary: bool = False,
    trained: int = 0,
    tested: int = 0,
    grids_registered: bool = False,
) -> Runs:
    """All fusions of the study, trained so, on the scenes of ``on_random_sizes``; decision-level fusion asks two.

    With ``auxiliary``, each sensor has a loss of its own. Added to the simulator's seed, ``trained`` and ``tested``
    give other scenes to train and to test on. With ``grids_registered``, images are resampled to the LiDAR's grid.
    """
    test = random_size_test(of_another_seed(settings, tested), device)
    splits = scenes(settings, device, trained)
    if grids_registered:
        test, *splits = (registered(split, of_random_size(settings).camera_fov) for split in (test, *splits))

    @functools.cache
    def logits(name: str, seed: int) -> Tensor:
        if sensors := asked(name):
            return sum(logits(sensor, seed) for sensor in sensors)
        return logits_on(network(name, seed, settings, *splits, auxiliary), test)

    return [], logits, test


def of_another_seed(settings: dict[str, Any], further: int) -> dict[str, Any]:
    """The params, with so much added to the simulator's seed."""
    simulate = params.lookup(settings, "data.simulate")
    return {**settings, "data": {**settings["data"], "simulate": {**simulate, "seed": simulate["seed"] + further}}}


def scenes(settings: dict[str, Any], device: torch.device, further: int = 0) -> tuple[Split, Split]:
    """That train, and that validate: the study's, or those of so much more than the simulator's seed."""
    if further:
        simulation = of_random_size(of_another_seed(settings, further))
        data = pack_scenes(random_size.sizes(settings).scenes(), partial(rendering, simulation))
    else:
        data = packed.load(RANDOM_SIZE)
    return load_split(data, "train", device), load_split(data, "val", device)


def network(
    name: str, seed: int, settings: dict[str, Any], train: Split, valid: Split, auxiliary: bool = False
) -> nn.Module:
    """A variant, such as ``fusion/late-strided``, trained here, once; the study's, if it was made of the same.

    Of decision-level fusion, the two that it asks. If ``auxiliary``, with a loss for each sensor.
    """
    if sensors := asked(name):
        return DecisionFusion(network(sensor, seed, settings, train, valid) for sensor in sensors)
    fusion, downsampling = parts(name)
    base = WHOLE if fusion in IN_PART else "early" if fusion in RESCALED else fusion
    course = replace(course_of(settings), steps=random_size.sizes(settings).cilp_steps)
    protocol = params.section(settings, "image_classifier", OneCycleParams)
    own, arguments = OwnParams.of(settings, base), normalised(base, downsampling, settings)
    if fusion in RESCALED:
        arguments["xyz_scale"] = RESCALED[fusion]
    own = replace(own, auxiliary_losses=own.auxiliary_losses or auxiliary)
    if fusion == "concat_default":
        own = replace(own, initialisation="torch")
    elif fusion == "concat_unvaried":
        course = replace(course, mirror=False, permute_colours=False)
    plan = protocol_on_random_sizes(base, settings) if fusion == "concat_he" else None
    made_by = {**asdict(own), **asdict(plan)} if plan else {**asdict(course), **asdict(protocol), **asdict(own)}
    called, seen = f"{name}-{AUXILIARY}" if auxiliary else name, digest(train, valid)
    studys = OF_THE_STUDY / called / f"seed-{seed}.pt"
    here = NETWORKS / seen / f"{called}-{arguments['xyz_scale']:g}m" / f"seed-{seed}.pt"
    for there in filter(Path.is_file, (here, studys)):
        model, kept = load_checkpoint(there, train.label.device)
        alike = (kept["params"], kept["arguments"]) == (made_by, arguments)
        if alike and (there == here or digest(*scenes(settings, train.label.device)) == seen):
            return model
    label = f"{fusion}-{downsampling}, {'a loss each, ' if auxiliary else ''}course, seed {seed}"
    if plan:
        model = train_classifier(
            lambda: build(**arguments).apply(initialise), train, valid, plan, Run(seed, label)
        ).model
    else:
        model = train_fusion(arguments, train, valid, course, protocol, own, Run(seed, label)).model
    save_checkpoint(here, model, "normalised_fusion", arguments, made_by, seed)
    return model


def digest(*splits: Split) -> str:
    """Of what is seen and learned there, and on what: a network is one of the scenes, and of the machine and the
    versions that made it.

    16 hexadecimal digits.
    """
    found = hashlib.blake2b(json.dumps(describe(splits[0].label.device)).encode(), digest_size=8)
    for split in splits:
        for tensor in (split.rgb, split.range, split.directions, split.label, split.scene):
            found.update(tensor.cpu().contiguous().numpy().data)
    return found.hexdigest()
