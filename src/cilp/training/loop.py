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
from cilp.training.unfinished import Unfinished


class Figures(Protocol):
    """What a validation gives: a dataclass of numbers, of which the lowest ``valid_loss`` decides what is kept."""

    valid_loss: float


M = TypeVar("M", bound=nn.Module)
F = TypeVar("F", bound=Figures)
Batch = tuple[Any, ...]
"""Rows (B,) int64 of the training set, then whatever else the loss takes."""


@dataclass(frozen=True)
class Trained(Generic[M, F]):
    """A finished run. The model holds the weights of ``best``, the validation with the lowest loss."""

    model: M
    history: list[F]
    best: F
    cost: dict[str, float]


def shuffled(count: int, batch_size: int, seed: int, device: torch.device) -> Iterator[Batch]:
    """Rows of one pass after the other over ``count`` samples, each in a new order; a pass's last batch may be small.

    Raises:
        UserError: the batch is larger than the training set.
    """
    if batch_size > count:
        raise UserError(f"batch_size is {batch_size}, but there are {count} training samples; lower it.")

    def passes() -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            for rows in torch.randperm(count, generator=generator).to(device).split(batch_size):
                yield (rows,)

    return passes()


def fit(
    model: M,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    batches: Iterator[Batch],
    loss_of: Callable[..., Tensor],
    validate: Callable[[int, float, float], F],
    *,
    steps: int,
    every: int,
    samples: int,
    figures: type[F],
    label: str,
    summary: Callable[[F], str],
    on_validation: Callable[[F], None],
    names: Callable[[Tensor], str],
    unfinished: Unfinished | None = None,
    gathers: bool = False,
) -> Trained[M, F]:
    """Take ``steps`` steps, validate after ``every`` so many and at the end, and keep the best weights.

    Args:
        batches: endless, and all that is random once the model is built: a run that goes on skips what it has seen.
        loss_of: mean loss of a batch, whose elements are its arguments.
        validate: ``figures`` from the step, the mean training loss since the last validation, and the learning rate.
        samples: how many samples the steps take in all, for the progress bar.
        summary: figures in a few words, for the progress bar.
        on_validation: is told all figures, those from before an interruption as well.
        names: what the rows of a batch are called where it is complained about.
        unfinished: where what an interrupted run needs to go on is kept, if anywhere.
        gathers: whether ``loss_of`` gathers what other processes embed, hence is the loss of the whole batch.

    Of several processes (``cilp.training.distributed``), each gets its share of a batch's rows as ``loss_of``'s first
    argument; gradients are averaged where ``loss_of`` uses a wrapped model.

    Raises:
        UserError: the loss is no longer a number.
    """
    device, processes = next(model.parameters()).device, world()
    meter = CostMeter(device)
    done, history, kept = 0, [], {}
    if unfinished is not None and (state := unfinished.load(device)) is not None:
        done, kept = state["done"], state["kept"]
        history = [figures(**entry) for entry in state["history"]]
        for part, key in ((model, "model"), (optimizer, "optimizer"), (schedule, "schedule"), (meter, "cost")):
            part.load_state_dict(state[key])
        print(f"{label}: goes on after step {done} of {steps}")
    seen = sum(len(rows) for rows, *_ in itertools.islice(batches, done))
    for entry in history:
        on_validation(entry)
    with ProgressBar(label, samples, unit="samples", done=seen) as bar:
        while done < steps:
            start = time.perf_counter()
            losses, rates, rows = [], [], []
            for batch, *rest in itertools.islice(batches, min(every, steps - done)):
                mine = processes.share(batch)
                loss = loss_of(mine, *rest)
                if processes.size > 1 and not gathers:
                    loss = loss * processes.weight(mine, batch)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())  # stays on the device: the host waits once, at the validation
                rates.append(schedule.get_last_lr()[0])
                rows.append(batch)
                schedule.step()
                bar.advance(len(batch))
            values = processes.mean(torch.stack(losses).double()).cpu()
            if not values.isfinite().all():
                first = int(values.isfinite().logical_not().nonzero()[0])
                raise UserError(
                    f"{label}, step {done + first + 1}: the loss became {values[first].item()} at the learning rate "
                    f"{rates[first]:.3g}, in a batch of {names(rows[first])}; lower the learning rate."
                )
            sizes = torch.tensor([len(part) for part in rows], dtype=torch.double)
            meter.count(int(sizes.sum()), time.perf_counter() - start)
            done += len(rows)
            latest = validate(done, (values @ sizes / sizes.sum()).item(), schedule.get_last_lr()[0])
            if not math.isfinite(latest.valid_loss):
                raise UserError(
                    f"{label}, step {done}: the validation loss became {latest.valid_loss} at the learning rate "
                    f"{rates[-1]:.3g}; lower it."
                )
            if not history or latest.valid_loss < min(entry.valid_loss for entry in history):
                kept = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
            history.append(latest)
            bar.advance(0, summary(latest))
            on_validation(latest)
            if unfinished is not None and processes.leads and unfinished.due(last=done == steps):
                parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "cost": meter}
                state = {name: part.state_dict() for name, part in parts.items()}
                unfinished.save({**state, "done": done, "kept": kept, "history": [asdict(entry) for entry in history]})
    cost = meter.finish()
    model.load_state_dict(kept)
    return Trained(model, history, min(history, key=lambda entry: entry.valid_loss), cost)
