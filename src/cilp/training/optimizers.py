"""Adam and AdamW as PyTorch has them, without its compiler, which nothing here uses.

Some of an optimiser's methods, and each of its steps, import ``torch._dynamo`` to tell it that they are not to be
compiled: two seconds of a stage's start, almost as long as importing PyTorch itself. Here they are called without that.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch

WRAPPED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def _plain(optimizer: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """A subclass whose methods have no wrapper left; should PyTorch drop its own, this one drops nothing."""
    take_step = inspect.unwrap(optimizer.step)

    def step(self: torch.optim.Optimizer, closure: Callable[[], Any] | None = None) -> Any:
        with torch.no_grad():
            return take_step(self, closure)

    methods = {name: inspect.unwrap(getattr(optimizer, name)) for name in WRAPPED}
    return type(optimizer.__name__, (optimizer,), {**methods, "step": step, "__module__": __name__})


Adam, AdamW = _plain(torch.optim.Adam), _plain(torch.optim.AdamW)
