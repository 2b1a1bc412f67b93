"""CILP's course for a classifier: as many steps as CILP is pretrained, on the same batches, varied alike.

AdamW takes it along one cycle. What the classifier sees of a pair is up to the kind of pairs, and what it is told of it
is handed in.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from cilp import params
from cilp.contrastive.pairs import varied
from cilp.training.classifier import logits_of, score
from cilp.training.distributed import world
from cilp.training.inputs import Pairs, Split
from cilp.training.loop import Run, Trained, fit
from cilp.training.optimizers import AdamW

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Course:
    """What is shared with CILP: the params of the section ``cilp`` of these names."""

    steps: int
    batch_size: int
    twins: bool
    mirror: bool
    permute_colours: bool
    validate_every: int


def course_of(settings: dict[str, Any]) -> Course:
    """What CILP's section of ``params.yaml`` says of it."""
    shared = {field.name: params.lookup(settings, f"cilp.{field.name}") for field in fields(Course)}
    return params.section({"cilp": shared}, "cilp", Course)


@dataclass(frozen=True)
class OneCycleParams:
    """What a classifier has of its own: AdamW's learning rate, at the peak of one cycle, and weight decay."""

    lr: float
    weight_decay: float

    def __post_init__(self) -> None:
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be positive; got {self.lr}.")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must not be negative; got {self.weight_decay}.")


@dataclass(frozen=True)
class CourseValidation:
    """Figures after a number of steps: losses in nats to what it is told (training: mean since the one before),
    accuracy in [0, 1] on the labels. The
    learning rate is that of the next step; after the last step, it is one beyond the end of the schedule."""

    step: int
    train_loss: float
    valid_loss: float
    valid_accuracy: float
    learning_rate: float


def take_course(
    build: Callable[[], M],
    pairs: Pairs,
    target: Tensor,
    valid: Split,
    valid_target: Tensor,
    course: Course,
    protocol: OneCycleParams,
    run: Run[CourseValidation],
) -> Trained[M, CourseValidation]:
    """Train what ``build`` returns and keep the weights with the lowest loss on ``valid_target``.

    Args:
        pairs: whose ``inputs``, varied, the network is given; those of ``valid`` are not varied.
        target: for each pair, probability of a sphere: (N,) float32 in [0, 1], or (N, logits) for several logits.
        valid_target: the same of ``valid``, (V,), whose labels nothing is chosen by.
        course: how many steps, on which batches, varied how, and when to validate. The batch is all pairs if there are
            fewer, as there may be with labels.

    Raises:
        UserError: the batch is larger than memory, or the loss is no longer a number.
    """
    course = replace(course, batch_size=min(course.batch_size, len(pairs), pairs.shard or len(pairs)))
    device = pairs.scene.device
    torch.manual_seed(run.seed)
    model = build().to(device, memory_format=torch.channels_last)
    network = world().wrap(model)
    optimizer = AdamW(model.parameters(), lr=protocol.lr, weight_decay=protocol.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, protocol.lr, total_steps=course.steps)

    def validate(step: int, train_loss: float, learning_rate: float) -> CourseValidation:
        logits = logits_of(model, valid)
        loss = binary_cross_entropy_with_logits(logits, valid_target).item()
        return CourseValidation(step, train_loss, loss, score(logits, valid.label)[1], learning_rate)

    return fit(
        model,
        optimizer,
        schedule,
        varied(pairs, course, run.seed),
        lambda rows, view: (*pairs.inputs(rows, view), target[rows]),
        lambda *inputs: binary_cross_entropy_with_logits(network(*inputs[:-1]), inputs[-1]),
        validate,
        run,
        steps=course.steps,
        every=course.validate_every,
        samples=course.steps * course.batch_size,
        figures=CourseValidation,
        section="image_classifier",
        batch_section="cilp",
        summary=lambda latest: (
            f"step {latest.step}/{course.steps}  loss {latest.train_loss:.4f}  "
            f"valid accuracy {latest.valid_accuracy:.4f}"
        ),
        names=pairs.names,
    )
