"""The loss and the gradients of one batch; on a GPU, replayed from a CUDA graph and not launched kernel by kernel."""

import functools
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

WARM_UP = 3
"""Passes before a graph is recorded, in which libraries choose their kernels and take their workspace."""


class Gradients:
    """Called with the inputs of a batch, gives the mean loss (), detached, and leaves the gradients in the parameters.

    With ``replays``, the first batch of each shape is recorded as a CUDA graph that later ones replay. Where a graph
    cannot be recorded, one line says so and every step is launched by itself.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], loss_of: Callable[..., Tensor], replays: bool):
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.loss_of, self.replays = loss_of, replays
        self.graphs: dict[tuple[torch.Size, ...], _Graph] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        if self.replays:
            shapes = tuple(tensor.shape for tensor in inputs)
            try:
                if shapes not in self.graphs:
                    self.graphs[shapes] = _Graph(self, inputs)
                return self.graphs[shapes].replay(inputs)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                print(f"no CUDA graph, each step is launched by itself: {str(error).splitlines()[0]}")
                self.replays = False
                self.graphs.clear()
        return self.plain(*inputs).detach()

    def plain(self, *inputs: Tensor) -> Tensor:
        """The same, launched."""
        for parameter in self.parameters:
            parameter.grad = None
        loss = self.loss_of(*inputs)
        loss.backward()
        return loss


@functools.cache
def _recording_stream(device: torch.device) -> torch.cuda.Stream:
    """The one on which all graphs are recorded: cuBLAS keeps a workspace for every stream that it has seen."""
    return torch.cuda.Stream(device)


class _Graph:
    """Loss and gradients of batches of one shape."""

    def __init__(self, step: Gradients, inputs: tuple[Tensor, ...]):
        self.parameters = step.parameters
        self.inputs = [tensor.clone() for tensor in inputs]  # keeps their memory layout
        self.graph = torch.cuda.CUDAGraph()
        stream, here = _recording_stream(self.inputs[0].device), torch.cuda.current_stream()
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                step.plain(*self.inputs)
        here.wait_stream(stream)
        with torch.cuda.graph(self.graph, stream=stream):
            self.loss = step.plain(*self.inputs).detach()
        self.gradients = [parameter.grad for parameter in self.parameters]

    def replay(self, inputs: tuple[Tensor, ...]) -> Tensor:
        for static, tensor in zip(self.inputs, inputs, strict=True):
            static.copy_(tensor)
        self.graph.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        return self.loss.clone()
