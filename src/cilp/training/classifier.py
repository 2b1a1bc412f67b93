"""Training and evaluation of a binary classifier, whatever it sees of a sample."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from cilp.training.distributed import world
from cilp.training.inputs import Split, in_order
from cilp.training.loop import Run, Trained, fit, shuffled, steps_of_a_pass
from cilp.training.optimizers import Adam


@dataclass(frozen=True)
class TrainingParams:
    """How one classifier is trained: Adam, its learning rate annealed along a cosine at each step."""

    epochs: int
    batch_size: int
    lr: float
    lr_min: float

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}.")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be positive; got {self.lr}.")
        if not 0 <= self.lr_min <= self.lr:
            raise ValueError(f"lr_min must lie between 0 and lr; got {self.lr_min}.")


@dataclass(frozen=True)
class Epoch:
    """One epoch's figures: losses in nats, accuracy in [0, 1], learning rate at its end."""

    epoch: int
    train_loss: float
    valid_loss: float
    valid_accuracy: float
    learning_rate: float


def train_classifier(
    build: Callable[[], nn.Module],
    train: Split,
    valid: Split,
    params: TrainingParams,
    run: Run[Epoch],
    section: str = "",
) -> Trained[nn.Module, Epoch]:
    """Train what ``build`` returns on ``train`` and keep the weights with the lowest loss on ``valid``.

    ``section`` of ``params.yaml`` holds ``params``.

    Raises:
        UserError: the batch is larger than the training set or than memory, or the loss is no longer a number.
    """
    device = train.label.device
    batches = shuffled(len(train), params.batch_size, run.seed, device, section, train.shard)
    torch.manual_seed(run.seed)
    model = build().to(device, memory_format=torch.channels_last)
    network = world().wrap(model)
    steps = steps_of_a_pass(len(train), params.batch_size, train.shard)
    optimizer = Adam(model.parameters(), lr=params.lr, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, params.epochs * steps, eta_min=params.lr_min)

    def validate(step: int, train_loss: float, learning_rate: float) -> Epoch:
        return Epoch(step // steps, train_loss, *score(logits_of(model, valid), valid.label), learning_rate)

    return fit(
        model,
        optimizer,
        schedule,
        batches,
        lambda rows: (*train.inputs(rows), train.label[rows]),
        lambda *inputs: binary_cross_entropy_with_logits(network(*inputs[:-1]), inputs[-1]),
        validate,
        run,
        steps=params.epochs * steps,
        every=steps,
        samples=params.epochs * len(train),
        figures=Epoch,
        section=section,
        summary=lambda epoch: (
            f"epoch {epoch.epoch}/{params.epochs}  loss {epoch.train_loss:.4f}  "
            f"valid accuracy {epoch.valid_accuracy:.4f}"
        ),
        names=train.names,
    )


def held_out(done: Trained[nn.Module, Any], test: Split) -> tuple[dict[str, float], Tensor]:
    """Figures of the weights that were kept, on validation and on the held-out ``test``, and its logits (N,)."""
    logits = logits_of(done.model, test)
    loss, accuracy = score(logits, test.label)
    figures = {
        "valid_loss": done.best.valid_loss,
        "valid_accuracy": done.best.valid_accuracy,
        "test_loss": loss,
        "test_accuracy": accuracy,
    }
    return figures, logits


@torch.inference_mode()
def logits_of(model: nn.Module, split: Split) -> Tensor:
    """Logits (N,) of every sample of a split, in order."""
    model.eval()
    logits = [model(*split.inputs(rows)) for rows in in_order(len(split), split.label.device)]
    model.train()
    return torch.cat(logits)


def score(logits: Tensor, label: Tensor) -> tuple[float, float]:
    """Mean binary cross-entropy in nats and accuracy at logit 0, over all samples."""
    loss = binary_cross_entropy_with_logits(logits, label).item()
    accuracy = ((logits > 0) == (label > 0.5)).double().mean().item()
    return loss, accuracy
