"""Fusions on scenes of random size that take the course of CILP and of the image classifiers it is measured against.

As many steps as CILP there, on batches as large, cube and sphere of a scene in the same one, mirrored and coloured
alike, by AdamW along one cycle (``cilp.classifiers.images``); every layer begins as He et al. 2015 (arXiv:1502.01852)
have it, as CILP's embedders do.
"""

import functools
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from more_seeds_networks import (
    RANDOM_SIZE,
    Runs,
    normalised,
    parts,
    protocol_on_random_sizes,
    random_size_test,
    said,
)
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from cilp import packed, params
from cilp.classifiers import random_size
from cilp.classifiers.images import Course, ImageParams, ImageValidation, course_of, images_of
from cilp.contrastive.pairs import View, passes
from cilp.evaluation.models import BASELINES, DECISION
from cilp.models import normalised_fusion
from cilp.training.checkpoint import load_checkpoint, save_checkpoint
from cilp.training.classifier import logits_of, score, train_classifier
from cilp.training.inputs import Split, load_split
from cilp.training.loop import Batch, fit
from cilp.training.optimizers import AdamW

NETWORKS = Path("models/course")
"""Kept, so that ``course_cues.py`` can ask what they go by."""
WHOLE = "concat"
IN_PART = {
    "concat_unvaried": "neither mirrored nor coloured",
    "concat_default": "PyTorch's initialisation",
    "concat_he": "He initialisation alone",
}
"""``WHOLE`` with less than all of it. The last is trained as at half the learning rate, but for how it begins."""


def taking_the_course(settings: dict[str, Any], device: torch.device, further: int = 0) -> Runs:
    """All fusions of the study, trained so, on the scenes of ``on_random_sizes``; decision-level fusion asks two.

    With ``further``, they are tested on others instead: those of the simulator's seed and so many.
    """
    simulate = params.lookup(settings, "data.simulate")
    other = {**settings["data"], "simulate": {**simulate, "seed": simulate["seed"] + further}}
    test = random_size_test({**settings, "data": other}, device)
    data = packed.load(RANDOM_SIZE)
    train, valid = (load_split(data, split, device) for split in ("train", "val"))

    @functools.cache
    def logits(name: str, seed: int) -> Tensor:
        fusion, downsampling = parts(name)
        if fusion == DECISION:
            return sum(logits(f"fusion/{sensor}-{downsampling}", seed) for sensor in BASELINES)
        return said(network(name, seed, settings, train, valid), test)

    return [], logits, test


def network(name: str, seed: int, settings: dict[str, Any], train: Split, valid: Split) -> nn.Module:
    """A variant, such as ``fusion/late-strided``: that in ``NETWORKS``, if these params made it, or one trained now."""
    fusion, downsampling = parts(name)
    course = replace(course_of(settings), steps=random_size.sizes(settings).cilp_steps)
    if fusion == "concat_unvaried":
        course = replace(course, mirror=False, permute_colours=False)
    plan = protocol_on_random_sizes(WHOLE, settings) if fusion == "concat_he" else course
    protocol = params.section(settings, "image_classifier", ImageParams)
    begin = normalised_fusion.build if fusion == "concat_default" else begun_as_he
    arguments = normalised(WHOLE if fusion in IN_PART else fusion, downsampling, settings)
    made_by = {**asdict(plan), **(asdict(protocol) if plan is course else {}), "begin": begin.__name__}
    path, label = NETWORKS / name / f"seed-{seed}.pt", f"{fusion}-{downsampling}, course, seed {seed}"
    if path.is_file():
        model, kept = load_checkpoint(path, train.label.device)
        if kept["params"] == made_by:
            return model
    if plan is course:
        torch.manual_seed(seed)
        model = begin(**arguments).to(train.label.device, memory_format=torch.channels_last)
        take(course, model, train, valid, protocol, seed, label)
    else:
        model = train_classifier(lambda: begin(**arguments), train, valid, plan, seed, label).model
    save_checkpoint(path, model, "normalised_fusion", arguments, made_by, seed)
    return model


def begun_as_he(**arguments: Any) -> nn.Module:
    """A fusion with normalised inputs, all of whose layers begin as CILP's embedders do."""
    model = normalised_fusion.build(**arguments)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return model


def take(
    course: Course, model: nn.Module, train: Split, valid: Split, protocol: ImageParams, seed: int, label: str
) -> None:
    """Train ``model`` on both sensors and the labels of ``train``; it ends with the lowest loss on ``valid``."""
    pairs = images_of(train)
    optimizer = AdamW(model.parameters(), lr=protocol.lr, weight_decay=protocol.weight_decay, fused=True)

    def validate(step: int, train_loss: float, learning_rate: float) -> ImageValidation:
        return ImageValidation(step, train_loss, *score(logits_of(model, valid), valid.label), learning_rate)

    fit(
        model,
        optimizer,
        torch.optim.lr_scheduler.OneCycleLR(optimizer, protocol.lr, total_steps=course.steps),
        varied(train, course, seed),
        lambda rows, view: (*pairs.inputs(rows, view), train.label[rows]),
        lambda rgb, lidar, label: binary_cross_entropy_with_logits(model(rgb, lidar), label),
        validate,
        steps=course.steps,
        every=course.validate_every,
        samples=course.steps * course.batch_size,
        figures=ImageValidation,
        label=label,
        section="image_classifier",
        summary=lambda latest: f"step {latest.step}/{course.steps}  valid accuracy {latest.valid_accuracy:.4f}",
        on_validation=lambda validation: None,
        names=train.names,
    )


def varied(train: Split, course: Course, seed: int) -> Iterator[Batch]:
    """Batch after batch without end: rows (B,), and how all of them are varied."""
    generator = torch.Generator().manual_seed(seed)
    for rows in passes(train.scene, course.batch_size, course.twins, generator):
        yield rows.to(train.label.device), View.draw(course.mirror, course.permute_colours, generator)
