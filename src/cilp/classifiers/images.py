"""What CILP is measured against: an image classifier that has seen what CILP's image embedder has.

It takes as many steps, on the same batches, varied alike. What it is told of a pair makes two of it. *Supervised*, it
is told the label, hence sees labelled pairs alone. *Distilled*, it is told what a LiDAR classifier makes of the pair's
range image, hence sees the unlabelled pairs as well: cross-modal distillation (Gupta et al. 2016, arXiv:1507.00448), on
the teacher's probabilities (Hinton et al. 2015, arXiv:1503.02531) at temperature 1.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from cilp import params
from cilp.contrastive.pairs import Pairs, View, passes
from cilp.models.embedder import EmbedderParams
from cilp.models.image_classifier import ImageClassifier, build
from cilp.models.lidar import LidarClassifier
from cilp.training.classifier import logits_of, score
from cilp.training.distributed import world
from cilp.training.inputs import ImageSplit, Split, in_order
from cilp.training.loop import Batch, Trained, fit
from cilp.training.optimizers import AdamW
from cilp.training.unfinished import Unfinished


@dataclass(frozen=True)
class Course:
    """What the classifier shares with CILP: the params of the section ``cilp`` of these names."""

    steps: int
    batch_size: int
    twins: bool
    mirror: bool
    permute_colours: bool
    validate_every: int


@dataclass(frozen=True)
class ImageParams:
    """What it has of its own: AdamW's learning rate, at the peak of one cycle, and weight decay."""

    lr: float
    weight_decay: float

    def __post_init__(self) -> None:
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be positive; got {self.lr}.")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must not be negative; got {self.weight_decay}.")


def course_of(settings: dict[str, Any]) -> Course:
    """What CILP's section of ``params.yaml`` says of it."""
    shared = {field.name: params.lookup(settings, f"cilp.{field.name}") for field in fields(Course)}
    return params.section({"cilp": shared}, "cilp", Course)


@dataclass(frozen=True)
class ImageValidation:
    """Figures after a number of steps: losses in nats to what it is told (training: mean since the one before),
    accuracy in [0, 1] on the labels."""

    step: int
    train_loss: float
    valid_loss: float
    valid_accuracy: float
    learning_rate: float


def images_of(split: Split) -> Pairs:
    """Labelled pairs as those without labels are kept."""
    return Pairs(split.rgb, split.range, split.scene.long(), split.directions, split.sensor)


@torch.no_grad()
def answers(teacher: LidarClassifier, pairs: Pairs | Split) -> Tensor:
    """What a LiDAR classifier in evaluation mode makes of every pair: probabilities (N,) of a sphere, asked once.

    Mirroring a pair and permuting its colours changes no shape, so that they hold for its variations too.
    """
    parts = [teacher(pairs.inputs(rows)[1]) for rows in in_order(len(pairs), pairs.scene.device)]
    return torch.cat(parts).sigmoid()


def train_image(
    pairs: Pairs,
    target: Tensor,
    valid: Split,
    valid_target: Tensor,
    course: Course,
    protocol: ImageParams,
    embedder: EmbedderParams,
    seed: int,
    label: str,
    on_validation: Callable[[ImageValidation], None] = lambda validation: None,
    unfinished: Unfinished | None = None,
) -> Trained[ImageClassifier, ImageValidation]:
    """Train on the images of ``pairs`` and keep the weights with the lowest loss on ``valid_target``.

    Args:
        target: probability of a sphere for each pair, (N,) float32 in [0, 1]: labels, or a teacher's ``answers``.
        valid_target: the same of ``valid``, whose labels nothing is chosen by.
        course: of CILP: how many steps, on which batches, varied how, and when to validate. The batch is all images if
            there are fewer, as there may be with labels.
        seed: decides initial weights, order and variations, and on one machine every bit of the result, with or without
            an interruption from which ``unfinished`` goes on.

    Raises:
        UserError: the batch is larger than memory, or the loss is no longer a number.
    """
    course = replace(course, batch_size=min(course.batch_size, len(pairs), pairs.shard or len(pairs)))
    device = pairs.scene.device
    torch.manual_seed(seed)
    model = build(**embedder.arguments()).to(device, memory_format=torch.channels_last)
    network = world().wrap(model)
    optimizer = AdamW(model.parameters(), lr=protocol.lr, weight_decay=protocol.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, protocol.lr, total_steps=course.steps)
    seen = ImageSplit.of(valid)

    def inputs_of(rows: Tensor, view: View) -> tuple[Tensor, Tensor]:
        return pairs.inputs(rows, view)[0], target[rows]

    def validate(step: int, train_loss: float, learning_rate: float) -> ImageValidation:
        logits = logits_of(model, seen)
        loss = binary_cross_entropy_with_logits(logits, valid_target).item()
        return ImageValidation(step, train_loss, loss, score(logits, seen.label)[1], learning_rate)

    return fit(
        model,
        optimizer,
        schedule,
        _varied(pairs, course, seed),
        inputs_of,
        lambda images, wanted: binary_cross_entropy_with_logits(network(images), wanted),
        validate,
        steps=course.steps,
        every=course.validate_every,
        samples=course.steps * course.batch_size,
        figures=ImageValidation,
        label=label,
        section="image_classifier",
        summary=lambda latest: (
            f"step {latest.step}/{course.steps}  loss {latest.train_loss:.4f}  "
            f"valid accuracy {latest.valid_accuracy:.4f}"
        ),
        on_validation=on_validation,
        names=lambda rows: f"images of the scenes {pairs.scene[rows].tolist()}",
        unfinished=unfinished,
    )


def _varied(pairs: Pairs, course: Course, seed: int) -> Iterator[Batch]:
    """Batch after batch without end, those that CILP would see of the same pairs: rows (B,) and how they are varied."""
    generator = torch.Generator().manual_seed(seed)
    device = torch.device("cpu") if pairs.shard else pairs.scene.device
    for rows in passes(pairs.scene, course.batch_size, course.twins, generator, pairs.shard):
        yield rows.to(device, non_blocking=True), View.draw(course.mirror, course.permute_colours, generator)
