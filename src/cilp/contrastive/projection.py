"""The projector from CILP's image embeddings to the LiDAR classifier's, which alone trains between frozen models."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from cilp.console.progress import ProgressBar
from cilp.errors import UserError
from cilp.models.projector import Projector
from cilp.models.rgb2lidar import ProjectedHead
from cilp.training.classifier import TrainingParams
from cilp.training.cost import CostMeter


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


@dataclass(frozen=True)
class TrainedProjector:
    """A finished run. The model holds the weights of ``best_epoch``, the one with the lowest validation loss."""

    model: Projector
    history: list[ProjectorEpoch]
    best_epoch: int
    cost: dict[str, float]


def train_projector(
    train: tuple[Tensor, Tensor],
    valid: tuple[Tensor, Tensor],
    params: ProjectorParams,
    seed: int,
    label: str,
    on_epoch: Callable[[ProjectorEpoch], None] = lambda epoch: None,
) -> TrainedProjector:
    """Fit a projector that maps the first embeddings of a pair (N, 200) to the second (N, 200), both frozen.

    Raises:
        UserError: the batch is larger than the training set, or the loss is no longer a number.
    """
    source, target = train
    if params.batch_size > len(source):
        raise UserError(
            f"projector.batch_size is {params.batch_size}, but there are {len(source)} training samples; lower it."
        )
    device = source.device
    torch.manual_seed(seed)
    model = Projector().to(device)
    order = torch.Generator().manual_seed(seed)
    steps = math.ceil(len(source) / params.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=params.lr, weight_decay=params.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, params.epochs * steps, eta_min=params.lr_min)

    history: list[ProjectorEpoch] = []
    best_loss, best_epoch, best_weights = math.inf, 0, {}
    meter = CostMeter(device)
    with ProgressBar(label, params.epochs * len(source), unit="samples") as bar:
        for number in range(1, params.epochs + 1):
            start = time.perf_counter()
            loss_sum = torch.zeros((), device=device)
            for rows in torch.randperm(len(source), generator=order).to(device).split(params.batch_size):
                loss = mse_loss(model(source[rows]), target[rows])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                loss_sum += loss.detach() * len(rows)
            train_loss = loss_sum.item() / len(source)
            meter.epoch(len(source), time.perf_counter() - start)
            valid_loss, valid_cosine = score_projector(model, *valid)
            if not (math.isfinite(train_loss) and math.isfinite(valid_loss)):
                raise UserError(f"{label}, epoch {number}: the loss is no number; lower the learning rate {params.lr}.")
            history.append(ProjectorEpoch(number, train_loss, valid_loss, valid_cosine, schedule.get_last_lr()[0]))
            if valid_loss < best_loss:
                best_loss, best_epoch, best_weights = valid_loss, number, copy.deepcopy(model.state_dict())
            bar.advance(
                len(source), f"epoch {number}/{params.epochs}  loss {train_loss:.5f}  cosine {valid_cosine:.4f}"
            )
            on_epoch(history[-1])
    cost = meter.finish()
    model.load_state_dict(best_weights)
    return TrainedProjector(model, history, best_epoch, cost)


@torch.inference_mode()
def score_projector(model: Projector, source: Tensor, target: Tensor) -> tuple[float, float]:
    """Mean squared error per coordinate and mean cosine to the true embedding, over all samples."""
    projected = model(source)
    return mse_loss(projected, target).item(), (projected * target).sum(dim=1).double().mean().item()


def projected_head(projector: Projector, head: nn.Sequential) -> ProjectedHead:
    """A projector that trains before a head that does not, as copies: neither of those given is ever touched."""
    return ProjectedHead(copy.deepcopy(projector).requires_grad_(True), copy.deepcopy(head))
