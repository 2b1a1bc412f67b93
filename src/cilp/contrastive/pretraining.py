"""Contrastive pretraining of an image and a LiDAR embedder on pairs, without labels."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.utils.deterministic
from torch import Tensor

from cilp.console.progress import ProgressBar
from cilp.contrastive.loss import contrastive_loss, unscaled_loss
from cilp.contrastive.pairs import Pairs, View, batches
from cilp.contrastive.retrieval import retrieval, twin_accuracy
from cilp.errors import UserError
from cilp.models.cilp import Cilp, build
from cilp.models.embedder import EmbedderParams
from cilp.training.classifier import EVALUATION_BATCH
from cilp.training.cost import CostMeter

SCHEDULES = ("1cycle", "constant")
TEMPERATURES = ("learned", "one")


@dataclass(frozen=True)
class CilpParams:
    """How CILP is pretrained: AdamW for a number of steps."""

    steps: int
    batch_size: int
    schedule: str
    """``1cycle``: up to ``lr`` and down to almost nothing (Smith and Topin 2019). ``constant``: ``lr`` throughout."""
    lr: float
    temperature: str
    """``learned``, or ``one``: raw cosines as logits."""
    temperature_lr: float
    """The learning rate of the logarithm of the temperature, on the same schedule."""
    weight_decay: float
    twins: bool
    mirror: bool
    permute_colours: bool
    unlabelled: bool
    validate_every: int

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch_size", 2), ("validate_every", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}; got {getattr(self, name)}.")
        for name, legal in (("schedule", SCHEDULES), ("temperature", TEMPERATURES)):
            if getattr(self, name) not in legal:
                raise ValueError(f"{name} is {getattr(self, name)!r}; legal values: {', '.join(legal)}.")
        for name in ("lr", "temperature_lr"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive; got {getattr(self, name)}.")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must not be negative; got {self.weight_decay}.")


@dataclass(frozen=True)
class Validation:
    """Figures after a number of steps: losses in nats (training: mean since the one before), shares in [0, 1]."""

    step: int
    train_loss: float
    valid_loss: float
    valid_unscaled_loss: float
    valid_twin_accuracy: float | None
    valid_recall_at_1: float
    temperature: float
    learning_rate: float


@dataclass(frozen=True)
class Pretrained:
    """A finished run. The model holds the weights of ``best_step``, the one with the lowest validation loss."""

    model: Cilp
    history: list[Validation]
    best_step: int
    cost: dict[str, float]


def pretrain(
    train: Pairs,
    valid: Pairs,
    params: CilpParams,
    embedder: EmbedderParams,
    seed: int,
    label: str,
    on_validation: Callable[[Validation], None] = lambda validation: None,
) -> Pretrained:
    """Train CILP on ``train`` and keep the weights with the lowest loss on ``valid``.

    ``seed`` decides initial weights, order and variations; on one machine it decides every bit of the result.

    Raises:
        UserError: the batch is larger than the training set, or the loss is no longer a number.
    """
    if params.batch_size > len(train):
        raise UserError(f"cilp.batch_size is {params.batch_size}, but there are {len(train)} training pairs; lower it.")
    device = train.rgb.device
    # every result is written before it is read: filling fresh memory, to expose what is not, took a tenth of the time
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.manual_seed(seed)
    model = build(**embedder.arguments()).to(device, memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(seed)
    if params.temperature == "one":
        model.log_scale.data.zero_()
        model.log_scale.requires_grad_(False)
    decayed = [parameter for name, parameter in model.named_parameters() if name != "log_scale"]
    optimizer = torch.optim.AdamW(
        [{"params": decayed}, {"params": [model.log_scale], "lr": params.temperature_lr, "weight_decay": 0.0}],
        lr=params.lr,
        weight_decay=params.weight_decay,
        fused=True,
    )
    if params.schedule == "1cycle":
        rates = [params.lr, params.temperature_lr]
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=params.steps)
    else:
        schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)

    history: list[Validation] = []
    best_loss, best_step, best_weights = math.inf, 0, {}
    meter = CostMeter(device)
    queue: list[Tensor] = []
    loss_sum, steps_since, start = torch.zeros((), device=device), 0, time.perf_counter()
    with ProgressBar(label, params.steps * params.batch_size, unit="pairs") as bar:
        for step in range(1, params.steps + 1):
            if not queue:
                queue = list(batches(train.scene, params.batch_size, params.twins, generator))[::-1]
            view = View.draw(params.mirror, params.permute_colours, generator)
            rgb, lidar = model(*train.inputs(queue.pop().to(device), view))
            loss = contrastive_loss(rgb, lidar, model.log_scale)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            model.clamp_temperature()
            loss_sum += loss.detach()  # stays on the device: the host waits at validations alone
            steps_since += 1
            bar.advance(params.batch_size)
            if step % params.validate_every and step != params.steps:
                continue
            train_loss = loss_sum.item() / steps_since
            meter.epoch(steps_since * params.batch_size, time.perf_counter() - start)
            figures = evaluate(model, valid)
            if not (math.isfinite(train_loss) and math.isfinite(figures["loss"])):
                raise UserError(
                    f"{label}, step {step}: the loss became {train_loss} in training, {figures['loss']} in validation; "
                    f"lower the learning rate {params.lr}."
                )
            history.append(
                Validation(
                    step,
                    train_loss,
                    figures["loss"],
                    figures["unscaled_loss"],
                    figures["twin_accuracy"],
                    figures["image_to_lidar_recall_at_1"],
                    model.temperature(),
                    schedule.get_last_lr()[0],
                )
            )
            if figures["loss"] < best_loss:
                best_loss, best_step = figures["loss"], step
                best_weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
            twins = "" if figures["twin_accuracy"] is None else f"  valid twin test {figures['twin_accuracy']:.4f}"
            bar.advance(0, f"step {step}/{params.steps}  loss {train_loss:.4f}{twins}")
            on_validation(history[-1])
            loss_sum.zero_()
            steps_since, start = 0, time.perf_counter()
    cost = meter.finish()
    model.load_state_dict(best_weights)
    return Pretrained(model, history, best_step, cost)


@torch.inference_mode()
def embed(model: Cilp, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Image and LiDAR embeddings (N, 200) each, of every pair, in order."""
    size = EVALUATION_BATCH[pairs.rgb.device.type]
    parts = [model(*pairs.inputs(slice(start, start + size))) for start in range(0, len(pairs), size)]
    rgb, lidar = (torch.cat(part) for part in zip(*parts, strict=True))
    return rgb, lidar


@torch.inference_mode()
def evaluate(model: Cilp, pairs: Pairs) -> dict[str, float | None]:
    """Loss over all pairs as one batch at the learned temperature, unscaled loss, twin test and retrieval figures."""
    rgb, lidar = embed(model, pairs)
    similarity = rgb @ lidar.T
    return {
        "loss": contrastive_loss(rgb, lidar, model.log_scale).item(),
        "unscaled_loss": unscaled_loss(rgb, lidar),
        "twin_accuracy": twin_accuracy(similarity, pairs.scene),
        **retrieval(similarity),
    }
