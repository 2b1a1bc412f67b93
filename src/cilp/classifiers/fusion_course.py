"""A fusion that takes CILP's course: inputs normalised as the embedders', begun and trained as they are, on labels."""

from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from cilp import params
from cilp.classifiers.auxiliary_losses import LOGITS, with_losses, without_losses
from cilp.classifiers.course import Course, CourseValidation, OneCycleParams, take_course
from cilp.classifiers.modality_dropout import ModalityDropout
from cilp.errors import UserError
from cilp.models import normalised_fusion
from cilp.models.embedder import initialise
from cilp.training.distributed import world
from cilp.training.inputs import Split
from cilp.training.loop import Run, Trained

LEAST_BATCH = 4
"""Samples of two scenes, for each process: with modality dropout, what one lacks hangs on another."""


@dataclass(frozen=True)
class OwnParams:
    """What a fusion has of its own: how it begins, how often it lacks a sensor, whether each sensor has a loss."""

    initialisation: str
    """``he`` or ``torch``, as of ``embedder``."""
    modality_dropout: float
    auxiliary_losses: bool

    @classmethod
    def of(cls, settings: dict[str, Any], fusion: str) -> "OwnParams":
        """As ``embedder`` begins, told what ``fusion.<fusion>`` says."""
        return cls(
            params.lookup(settings, "embedder.initialisation"),
            params.lookup(settings, f"fusion.{fusion}.modality_dropout"),
            params.lookup(settings, f"fusion.{fusion}.auxiliary_losses"),
        )


def train_fusion(
    arguments: dict[str, Any],
    train: Split,
    valid: Split,
    course: Course,
    protocol: OneCycleParams,
    own: OwnParams,
    run: Run[CourseValidation],
) -> Trained[nn.Module, CourseValidation]:
    """Train the fusion of ``normalised_fusion.build``'s ``arguments``; the best weights are those with the lowest loss
    of what the fusion says on ``valid``.

    Raises:
        TypeError: auxiliary losses, and a fusion without an encoder for each sensor.
        UserError: as ``take_course`` does, or modality dropout in batches of one scene.
    """
    build, target = normalised_fusion.build, train.label
    if own.modality_dropout:
        if (least := LEAST_BATCH * world().size) > course.batch_size:
            raise UserError(f"with modality dropout cilp.batch_size must be {least} or more; got {course.batch_size}.")
        # with twins the sample before a sphere is always its own cube: it would lack the same sensor in every batch
        train = ModalityDropout.of(train, own.modality_dropout, run.seed, neighbour=2)
    if own.auxiliary_losses:
        build, target = with_losses(build), target.unsqueeze(1).expand(-1, LOGITS)

    def network() -> nn.Module:
        model = build(**arguments)
        return model.apply(initialise) if own.initialisation == "he" else model

    done = take_course(
        network,
        train,
        target,
        valid,
        valid.label,
        course,
        protocol,
        run,
    )
    return replace(done, model=without_losses(done.model)) if own.auxiliary_losses else done
