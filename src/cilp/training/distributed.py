"""Several processes that share every batch, as ``torchrun`` starts them; without it, one process has it all.

Each process holds the whole data and the same model, takes the gradient of its share of a batch, and steps with the
mean over all (``DistributedDataParallel``). So the batch, and with it the study, is what ``params.yaml`` says, however
many processes there are; figures differ by rounding. The leading process alone prints and writes.
"""

import atexit
import os
import sys
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from cilp.errors import UserError


@dataclass(frozen=True)
class World:
    """How many processes there are, and which of them this one is."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of the rows (B,) of a batch; of fewer rows than processes, every process takes all."""
        return rows if len(rows) < self.size else rows.tensor_split(self.size)[self.rank]

    def weight(self, mine: Tensor, rows: Tensor) -> float:
        """What the mean loss over ``mine`` counts, so that the mean over the processes is the mean over ``rows``."""
        return 1.0 if len(rows) < self.size else len(mine) * self.size / len(rows)

    def wrap(self, model: nn.Module) -> nn.Module:
        """The same model, whose gradients are averaged over the processes as they arise."""
        return DistributedDataParallel(model, broadcast_buffers=False) if self.size > 1 else model

    def gather(self, embedding: Tensor) -> Tensor:
        """Embeddings (B / size, D) of all processes together: (B, D), in the order of the batch, with gradients."""
        if self.size == 1:
            return embedding
        from torch.distributed.nn.functional import all_gather

        return torch.cat(all_gather(embedding))

    def mean(self, values: Tensor) -> Tensor:
        """The mean of ``values`` over the processes."""
        if self.size > 1:
            distributed.all_reduce(values)
            values /= self.size
        return values

    def agree(self, number: int, device: torch.device) -> bool:
        """Whether every process says the same number; each must ask."""
        if self.size == 1:
            return True
        numbers = torch.tensor([number, -number], device=device)
        distributed.all_reduce(numbers, distributed.ReduceOp.MAX)
        return bool(numbers.sum() == 0)

    def check_divides(self, batch_size: int, key: str) -> None:
        """Raise ``UserError`` unless all processes get equal shares of a batch, which gathering needs."""
        if batch_size % self.size:
            raise UserError(f"{key} is {batch_size}, which {self.size} processes cannot share equally; change either.")


def world() -> World:
    """The processes that ``join`` has brought together, or this one alone."""
    if not distributed.is_available() or not distributed.is_initialized():
        return World()
    return World(distributed.get_rank(), distributed.get_world_size())


def several() -> bool:
    """Whether ``torchrun`` started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def place() -> int:
    """This process's number on this machine, and that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0")) if several() else 0


def join(cuda: bool) -> None:
    """Meet the other processes, if there are any; all but the leading one fall silent."""
    if several() and not distributed.is_initialized():
        if cuda:
            torch.cuda.set_device(place())
        distributed.init_process_group("nccl" if cuda else "gloo")
        atexit.register(distributed.destroy_process_group)
        if distributed.get_rank() > 0:
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
