"""The fusion classifiers, trained on any data."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from torch import nn

from cilp.classifiers.auxiliary_losses import OneLabelEach, with_losses, without_losses
from cilp.classifiers.modality_dropout import ModalityDropout
from cilp.models import fusion
from cilp.training.classifier import Epoch, TrainingParams, train_classifier
from cilp.training.inputs import Split
from cilp.training.loop import Run, Trained

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class FusionProtocol(TrainingParams):
    """How one fusion network is trained: the unit in metres in which it sees XYZ, how often it lacks a sensor, and
    whether each sensor has a loss of its own."""

    xyz_scale: float
    modality_dropout: float
    auxiliary_losses: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.xyz_scale < math.inf:
            raise ValueError(f"xyz_scale must be positive; got {self.xyz_scale}.")
        if not 0 <= self.modality_dropout <= 1:
            raise ValueError(f"modality_dropout must lie between 0 and 1; got {self.modality_dropout}.")
        if self.modality_dropout and self.batch_size == 1:  # what a sample lacks hangs on another of its batch
            raise ValueError("batch_size must be at least 2 for modality_dropout; got 1.")


def network(name: str, downsampling: str, protocol: FusionProtocol) -> dict[str, Any]:
    """The arguments of ``cilp.models.fusion.build``, which a checkpoint keeps."""
    return {"fusion": name, "downsampling": downsampling, "xyz_scale": protocol.xyz_scale}


def train_fusion(
    arguments: dict[str, Any],
    train: Split,
    valid: Split,
    protocol: FusionProtocol,
    run: Run[Epoch],
    build: Callable[..., N] = fusion.build,
) -> Trained[N, Epoch]:
    """Train what ``build`` makes of ``arguments`` on every sensor, or, with modality dropout, now and then on one.

    With auxiliary losses the training loss is the mean of three, and the best weights are those with the lowest loss of
    what the fusion says.

    Raises:
        TypeError: auxiliary losses, and a fusion without an encoder for each sensor.
        UserError: as ``train_classifier`` does.
    """
    if protocol.modality_dropout:
        train = ModalityDropout.of(train, protocol.modality_dropout, run.seed)
    if protocol.auxiliary_losses:
        train, build = OneLabelEach.of(train), with_losses(build)
    section = f"fusion.{arguments['fusion']}"
    done = train_classifier(lambda: build(**arguments), train, valid, protocol, run, section)
    return replace(done, model=without_losses(done.model)) if protocol.auxiliary_losses else done
