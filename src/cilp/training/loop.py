"""The loop that trains every model: steps on the device, a validation now and then, the best weights kept.

What differs between the models (loss, figures, optimiser, order of the samples) is handed in.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from cilp.console.progress import ProgressBar
from cilp.errors import UserError
from cilp.training.cost import CostMeter
from cilp.training.distributed import world
from cilp.training.step import Step
from cilp.training.stream import shards
from cilp.training.unfinished import Unfinished


class Figures(Protocol):
    """What a validation gives: a dataclass of numbers, of which the lowest ``valid_loss`` decides what is kept."""

    valid_loss: float


M = TypeVar("M", bound=nn.Module)
F = TypeVar("F", bound=Figures)
Batch = tuple[Any, ...]
"""Rows (B,) int64 of the training set, then whatever else decides the inputs."""


@dataclass(frozen=True)
class Trained(Generic[M, F]):
    """A finished run. The model holds the weights of ``best``, the validation with the lowest loss."""

    model: M
    history: list[F]
    best: F
    cost: dict[str, float]


@dataclass(frozen=True)
class Run(Generic[F]):
    """One run of a training: what all that is random in it comes from, and who follows it."""

    seed: int
    """Decides initial weights, the samples' order and variations, and on one machine every bit of the result."""
    label: str
    """What it is called, on the progress bar and in what is complained about."""
    on_validation: Callable[[F], None] = lambda figures: None
    """Is told the figures of every validation, those from before an interruption as well."""
    unfinished: Unfinished | None = None
    """Where what it needs to go on after an interruption is kept, if anywhere; the result is the same bits."""


def shuffled(
    count: int, batch_size: int, seed: int, device: torch.device, section: str = "", shard: int | None = None
) -> Iterator[Batch]:
    """Rows of one pass after the other over ``count`` samples, each in a new order; a pass's last batch may be small.

    With ``shard``, no batch goes beyond so many consecutive rows, the rows stay on the host, and the last batch of each
    shard may be small.

    Raises:
        UserError: the batch is larger than the training set.
    """
    if batch_size > count:
        raise UserError(
            f"{param(section, 'batch_size')} is {batch_size}, but there are {count} training samples; lower it."
        )

    def passes() -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            for first in shards(count, shard, generator):
                rows = torch.randperm(min(shard or count, count - first), generator=generator)
                rows = rows + first if shard else rows.to(device)
                for batch in rows.split(batch_size):
                    yield (batch,)

    return passes()


def steps_of_a_pass(count: int, batch_size: int, shard: int | None = None) -> int:
    """How many batches ``shuffled`` makes of ``count`` samples."""
    whole, rest = divmod(count, shard or count)
    return whole * math.ceil((shard or count) / batch_size) + math.ceil(rest / batch_size)


def param(section: str, name: str) -> str:
    """What a param is called in ``params.yaml``."""
    return f"{section}.{name}" if section else name


def fit(
    model: M,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    batches: Iterator[Batch],
    inputs_of: Callable[..., tuple[Tensor, ...]],
    loss_of: Callable[..., Tensor],
    validate: Callable[[int, float, float], F],
    run: Run[F],
    *,
    steps: int,
    every: int,
    samples: int,
    figures: type[F],
    section: str = "",
    batch_section: str | None = None,
    summary: Callable[[F], str],
    names: Callable[[Tensor], str],
    gathers: bool = False,
) -> Trained[M, F]:
    """Take ``steps`` steps, validate after ``every`` so many and at the end, and keep the best weights.

    Args:
        batches: endless, and all that is random once the model is built: a run that goes on skips what it has seen.
        inputs_of: what a batch, whose elements are the arguments, gives the loss; any number of tensors (B, ...).
        loss_of: mean loss of these inputs, without a look at anything on the host: a GPU replays it.
        validate: ``figures`` from the step, the mean training loss since the last validation, and the learning rate.
        samples: how many samples the steps take in all, for the progress bar.
        section: of ``params.yaml`` that holds the batch size and the learning rate, for what is complained about.
        batch_section: the one that holds the batch size, if that is another.
        summary: figures in a few words, for the progress bar.
        names: what the rows of a batch are called where it is complained about.
        gathers: whether ``loss_of`` gathers what other processes embed, hence is the loss of the whole batch.

    Of several processes (``cilp.training.distributed``), each gets its share of a batch's rows as ``inputs_of``'s first
    argument; gradients are averaged where ``loss_of`` uses a wrapped model.

    Raises:
        UserError: the loss is no longer a number, or memory is too small for a batch.
    """
    device, processes = next(model.parameters()).device, world()
    label, unfinished = run.label, run.unfinished
    single = processes.size == 1

    def weighted(*inputs: Tensor) -> Tensor:
        loss = loss_of(*inputs)
        return loss if single or gathers else loss * weight

    step = Step(model.parameters(), weighted, optimizer, replays=device.type == "cuda" and single)
    meter = CostMeter(device)
    done, history, kept = 0, [], {}
    state = unfinished.load(device) if unfinished is not None else None
    if not processes.agree(state["done"] if state else 0, device):
        print(f"{label}: the processes have saved different states; the run begins anew")
        state = None
    if state:
        done, kept = state["done"], state["kept"]
        history = [figures(**entry) for entry in state["history"]]
        for part, key in ((model, "model"), (optimizer, "optimizer"), (schedule, "schedule"), (meter, "cost")):
            part.load_state_dict(state[key])
        print(f"{label}: goes on after step {done} of {steps}")
    seen = sum(len(rows) for rows, *_ in itertools.islice(batches, done))
    for entry in history:
        run.on_validation(entry)
    with ProgressBar(label, samples, unit="samples", done=seen) as bar:
        while done < steps:
            start = time.perf_counter()
            losses, rates, rows = [], [], []
            with step.preparing():
                for batch, *rest in itertools.islice(batches, min(every, steps - done)):
                    mine = processes.share(batch)
                    weight = processes.weight(mine, batch)
                    try:
                        losses.append(step(*inputs_of(mine, *rest)))  # on the device: the host waits once an epoch
                    except RuntimeError as error:
                        size = param(section if batch_section is None else batch_section, "batch_size")
                        cure = f"for a batch of {len(batch)}; lower {size}"
                        raise _explained(error, f"{label}, step {done + len(rows) + 1}", cure) from None
                    rates.append(schedule.get_last_lr()[0])
                    rows.append(batch)
                    schedule.step()
                    bar.advance(len(batch))
            values = processes.mean(torch.stack(losses).double()).cpu()
            if not values.isfinite().all():
                first = int(values.isfinite().logical_not().nonzero()[0])
                raise UserError(
                    f"{label}, step {done + first + 1}: the loss became {values[first].item()} at the learning rate "
                    f"{rates[first]:.3g}, in a batch of {names(rows[first])}; lower {param(section, 'lr')}."
                )
            sizes = torch.tensor([len(part) for part in rows], dtype=torch.double)
            meter.count(int(sizes.sum()), time.perf_counter() - start)
            done += len(rows)
            try:
                latest = validate(done, (values @ sizes / sizes.sum()).item(), schedule.get_last_lr()[0])
            except RuntimeError as error:
                cure = f"to validate; free some of it{', or set device to cpu' if device.type == 'cuda' else ''}"
                raise _explained(error, f"{label}, step {done}", cure) from None
            if not math.isfinite(latest.valid_loss):
                raise UserError(
                    f"{label}, step {done}: the validation loss became {latest.valid_loss} at the learning rate "
                    f"{rates[-1]:.3g}; lower {param(section, 'lr')}."
                )
            if not history or latest.valid_loss < min(entry.valid_loss for entry in history):
                kept = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
            history.append(latest)
            bar.advance(0, summary(latest))
            run.on_validation(latest)
            if unfinished is not None and processes.leads and unfinished.due(last=done == steps):
                parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "cost": meter}
                state = {name: part.state_dict() for name, part in parts.items()}
                unfinished.save({**state, "done": done, "kept": kept, "history": [asdict(entry) for entry in history]})
    cost = meter.finish()
    for parameter in model.parameters():
        parameter.grad = None  # or they would hold on to memory of the CUDA graph
    model.load_state_dict(kept)
    return Trained(model, history, min(history, key=lambda entry: entry.valid_loss), cost)


def _explained(error: RuntimeError, where: str, cure: str) -> Exception:
    """What to raise for ``error``: what memory was too small for and what to do, if it ran out, or the error itself."""
    if isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error):
        return UserError(f"{where}: memory is too small {cure}.")
    return error
