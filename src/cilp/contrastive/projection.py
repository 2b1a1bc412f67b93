"""The projector from CILP's image embeddings to the LiDAR classifier's, which alone trains between frozen models."""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from cilp.models.projector import Projector
from cilp.models.rgb2lidar import ProjectedHead
from cilp.training.classifier import TrainingParams
from cilp.training.distributed import world
from cilp.training.loop import Run, Trained, fit, shuffled, steps_of_a_pass
from cilp.training.optimizers import AdamW


@dataclass(frozen=True)
class ProjectorParams(TrainingParams):
    """How the projector is trained: AdamW on the mean squared error, the rate annealed along a cosine."""

    weight_decay: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must not be negative; got {self.weight_decay}.")


@dataclass(frozen=True)
class ProjectorEpoch:
    """One epoch's figures: mean squared errors per coordinate, mean cosine to the true embedding, learning rate."""

    epoch: int
    train_loss: float
    valid_loss: float
    valid_cosine: float
    learning_rate: float


def train_projector(
    train: tuple[Tensor, Tensor],
    valid: tuple[Tensor, Tensor],
    params: ProjectorParams,
    run: Run[ProjectorEpoch],
    section: str = "",
) -> Trained[Projector, ProjectorEpoch]:
    """Fit a projector that maps the first embeddings of a pair (N, 200) to the second (N, 200), both frozen.

    Raises:
        UserError: the batch is larger than the training set or than memory, or the loss is no longer a number.
    """
    source, target = train
    batches = shuffled(len(source), params.batch_size, run.seed, source.device, section)
    torch.manual_seed(run.seed)
    model = Projector().to(source.device)
    network = world().wrap(model)
    steps = steps_of_a_pass(len(source), params.batch_size)
    optimizer = AdamW(model.parameters(), lr=params.lr, weight_decay=params.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, params.epochs * steps, eta_min=params.lr_min)

    def validate(step: int, train_loss: float, learning_rate: float) -> ProjectorEpoch:
        return ProjectorEpoch(step // steps, train_loss, *score_projector(model, *valid), learning_rate)

    return fit(
        model,
        optimizer,
        schedule,
        batches,
        lambda rows: (source[rows], target[rows]),
        lambda rgb, lidar: mse_loss(network(rgb), lidar),
        validate,
        run,
        steps=params.epochs * steps,
        every=steps,
        samples=params.epochs * len(source),
        figures=ProjectorEpoch,
        section=section,
        summary=lambda epoch: (
            f"epoch {epoch.epoch}/{params.epochs}  loss {epoch.train_loss:.5f}  cosine {epoch.valid_cosine:.4f}"
        ),
        names=lambda rows: f"training pairs {rows.tolist()}",
    )


@torch.inference_mode()
def score_projector(model: Projector, source: Tensor, target: Tensor) -> tuple[float, float]:
    """Mean squared error per coordinate and mean cosine to the true embedding, over all samples."""
    projected = model(source)
    return mse_loss(projected, target).item(), (projected * target).sum(dim=1).double().mean().item()


def projected_head(projector: Projector, head: nn.Sequential) -> ProjectedHead:
    """A projector that trains before a head that does not, as copies: neither of those given is ever touched."""
    return ProjectedHead(copy.deepcopy(projector).requires_grad_(True), copy.deepcopy(head))
