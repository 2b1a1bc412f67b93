"""Contrastive pretraining of an image and a LiDAR embedder on pairs, without labels."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cilp.contrastive.loss import contrastive_loss, unscaled_loss
from cilp.contrastive.pairs import varied
from cilp.contrastive.retrieval import retrieval, twin_accuracy
from cilp.errors import UserError
from cilp.models.cilp import Cilp, build
from cilp.models.embedder import EmbedderParams
from cilp.training.device import exact_products
from cilp.training.distributed import world
from cilp.training.inputs import Pairs, in_order
from cilp.training.loop import Run, Trained, fit, param
from cilp.training.optimizers import AdamW

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
    """Figures after a number of steps: losses in nats (training: mean since the one before), shares in [0, 1].

    The learning rate is that of the next step; after the last step, it is one beyond the end of the schedule.
    """

    step: int
    train_loss: float
    valid_loss: float
    valid_unscaled_loss: float
    valid_twin_accuracy: float | None
    valid_recall_at_1: float
    temperature: float
    learning_rate: float


def pretrain(
    train: Pairs,
    valid: Pairs,
    params: CilpParams,
    embedder: EmbedderParams,
    run: Run[Validation],
    section: str = "cilp",
) -> Trained[Cilp, Validation]:
    """Train CILP on ``train`` and keep the weights with the lowest loss on ``valid``.

    ``section`` is where a param that turns out to be wrong can be changed.

    Raises:
        UserError: the batch is larger than the training set or than memory, or the loss is no longer a number.
    """
    at_once, key = min(len(train), train.shard or len(train)), param(section, "batch_size")
    if params.batch_size > at_once:
        where = "in a shard" if train.shard else "to train on"
        raise UserError(f"{key} is {params.batch_size}, but there are {at_once} pairs {where}; lower it.")
    device, processes = train.rgb.device, world()
    processes.check_divides(params.batch_size, key)
    torch.manual_seed(run.seed)
    model = build(**embedder.arguments()).to(device, memory_format=torch.channels_last)
    if params.temperature == "one":
        model.log_scale.data.zero_()
        model.log_scale.requires_grad_(False)
    decayed = [parameter for name, parameter in model.named_parameters() if name != "log_scale"]
    optimizer = AdamW(
        [{"params": decayed}, {"params": [model.log_scale], "lr": params.temperature_lr, "weight_decay": 0.0}],
        lr=params.lr,
        weight_decay=params.weight_decay,
        fused=True,
    )
    optimizer.register_step_post_hook(lambda *_: model.clamp_temperature())
    if params.schedule == "1cycle":
        rates = [params.lr, params.temperature_lr]
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=params.steps)
    else:
        schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)

    network = processes.wrap(model)

    def loss_of(*views: Tensor) -> Tensor:
        rgb, lidar = map(processes.gather, network(*views))
        return contrastive_loss(rgb, lidar, model.log_scale)

    def validate(step: int, train_loss: float, learning_rate: float) -> Validation:
        figures = evaluate(model, valid)
        return Validation(
            step,
            train_loss,
            figures["loss"],
            figures["unscaled_loss"],
            figures["twin_accuracy"],
            figures["image_to_lidar_recall_at_1"],
            model.temperature(),
            learning_rate,
        )

    def summary(latest: Validation) -> str:
        twins = "" if latest.valid_twin_accuracy is None else f"  valid twin test {latest.valid_twin_accuracy:.4f}"
        return f"step {latest.step}/{params.steps}  loss {latest.train_loss:.4f}{twins}"

    return fit(
        model,
        optimizer,
        schedule,
        varied(train, params, run.seed),
        train.inputs,
        loss_of,
        validate,
        run,
        steps=params.steps,
        every=params.validate_every,
        samples=params.steps * params.batch_size,
        figures=Validation,
        section=section,
        summary=summary,
        names=train.names,
        gathers=True,
    )


@torch.inference_mode()
def embed(model: Cilp, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Image and LiDAR embeddings (N, 200) each, of every pair, in order, in the host's memory.

    What they are compared by is many small operations and figures, each of which a GPU would make the host wait for.
    """
    parts = [model(*pairs.inputs(rows)) for rows in in_order(len(pairs), pairs.scene.device)]
    rgb, lidar = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    return rgb, lidar


@torch.inference_mode()
def evaluate(model: Cilp, pairs: Pairs) -> dict[str, float | None]:
    """Loss over all pairs as one batch at the learned temperature, unscaled loss, twin test and retrieval figures."""
    rgb, lidar = embed(model, pairs)
    with exact_products():
        similarity = rgb @ lidar.T
        return {
            "loss": contrastive_loss(rgb, lidar, model.log_scale.cpu()).item(),
            "unscaled_loss": unscaled_loss(rgb, lidar),
            "twin_accuracy": twin_accuracy(similarity, pairs.scene.cpu()),
            **retrieval(similarity),
        }
