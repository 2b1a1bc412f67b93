"""One step of a training: loss, gradients, optimiser; on a GPU, replayed from a CUDA graph and not launched kernel by
kernel."""

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

WARM_UP = 3
"""Passes before a graph is recorded, in which libraries choose their kernels and take their workspace."""


class Step:
    """Called with the inputs of a batch, takes a step and gives the mean loss before it (), detached.

    With ``replays``, the first batch of each shape is recorded as a CUDA graph that later ones replay. It holds the
    optimiser's part as well, with the learning rate as a tensor; but where momentum changes from step to step, which a
    graph would freeze, the optimiser steps outside. Where a graph cannot be recorded, one line says so and every step
    is launched by itself.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        loss_of: Callable[..., Tensor],
        optimizer: torch.optim.Optimizer,
        replays: bool,
    ):
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.loss_of, self.optimizer, self.replays = loss_of, optimizer, replays
        cycled = any("max_momentum" in group for group in optimizer.param_groups)  # by a one-cycle schedule
        self.whole = replays and not cycled
        """Whether graphs hold the optimiser's part."""
        if self.whole and self.parameters[0].is_cuda:
            for group in optimizer.param_groups:
                group["capturable"] = True  # or else it refuses
        self.graphs: dict[tuple[torch.Size, ...], _Graph] = {}
        self.here: torch.cuda.Stream | None = None

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Where inputs are made and steps are called: on a GPU they are made on a stream of their own, while it is at
        work on the batch before."""
        if not self.replays:
            yield
            return
        device = self.parameters[0].device
        self.here, self.beside = torch.cuda.current_stream(device), _stream(device, "inputs")
        self.taken = torch.cuda.Event()
        self.beside.wait_stream(self.here)
        try:
            with torch.cuda.stream(self.beside):
                yield
        finally:
            self.here.wait_stream(self.beside)
            self.here = None

    def __call__(self, *inputs: Tensor) -> Tensor:
        if self.here is None:
            return self._step(inputs, lambda: None)
        self.here.wait_stream(self.beside)
        with torch.cuda.stream(self.here):
            loss = self._step(inputs, self.taken.record)
        self.beside.wait_event(self.taken)  # only then may what is freed here be memory for other inputs
        return loss

    def _step(self, inputs: tuple[Tensor, ...], taken: Callable[[], None]) -> Tensor:
        """Calls ``taken`` once inputs are needed no longer."""
        if self.replays and (self.optimizer.state or not self.whole):  # which the first step, launched, brings about
            shapes = tuple(tensor.shape for tensor in inputs)
            try:
                if shapes not in self.graphs:
                    self.graphs[shapes] = _Graph(self, inputs)
                loss = self.graphs[shapes].replay(inputs, taken)
            except RuntimeError as error:  # memory may be too small for a graph beside a step; if not, a step says so
                print(f"no CUDA graph, each step is launched by itself: {str(error).splitlines()[0]}")
                self.replays = False
                self.graphs.clear()
            else:
                if not self.whole:
                    self.optimizer.step()
                return loss
        loss = self.plain(*inputs).detach()
        self.optimizer.step()
        taken()
        return loss

    def plain(self, *inputs: Tensor) -> Tensor:
        """Loss and gradients, launched."""
        for parameter in self.parameters:
            parameter.grad = None
        loss = self.loss_of(*inputs)
        loss.backward()
        return loss


@functools.cache
def _stream(device: torch.device, purpose: str) -> torch.cuda.Stream:
    """One for all runs: cuBLAS keeps a workspace for every stream that it has seen."""
    return torch.cuda.Stream(device)


class _Graph:
    """A step, or its loss and gradients, for batches of one shape."""

    def __init__(self, step: Step, inputs: tuple[Tensor, ...]):
        self.parameters, self.groups = step.parameters, step.optimizer.param_groups if step.whole else []
        self.inputs = [tensor.clone() for tensor in inputs]  # keeps their memory layout
        self.rates = [torch.zeros((), device=inputs[0].device) for _ in self.groups]
        self.graph = torch.cuda.CUDAGraph()
        stream, here = _stream(self.inputs[0].device, "recording"), torch.cuda.current_stream()
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                step.plain(*self.inputs)
        here.wait_stream(stream)
        with torch.cuda.graph(self.graph, stream=stream):
            self.loss = step.plain(*self.inputs).detach()
            if step.whole:
                with self.rates_as_tensors():
                    step.optimizer.step()
        self.gradients = [parameter.grad for parameter in self.parameters]

    @contextmanager
    def rates_as_tensors(self) -> Iterator[None]:
        """The optimiser reads its learning rates, which schedules set as numbers, from where ``replay`` puts them."""
        before = [group["lr"] for group in self.groups]
        for group, rate in zip(self.groups, self.rates, strict=True):
            group["lr"] = rate
        try:
            yield
        finally:
            for group, rate in zip(self.groups, before, strict=True):
                group["lr"] = rate

    def replay(self, inputs: tuple[Tensor, ...], taken: Callable[[], None]) -> Tensor:
        for static, tensor in zip(self.inputs, inputs, strict=True):
            static.copy_(tensor)
        taken()
        for group, rate in zip(self.groups, self.rates, strict=True):
            rate.fill_(group["lr"])
        self.graph.replay()
        if not self.groups:
            for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
                parameter.grad = gradient
        return self.loss.clone()
