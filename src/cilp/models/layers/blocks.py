"""Building blocks that the networks share."""

import functools
import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cilp.models.layers import gpu

DOWNSAMPLINGS = ("maxpool", "strided")


class Downsample(nn.Module):
    """3x3 convolution and ReLU that halve height and width: (B, inputs, H, W) -> (B, outputs, H / 2, W / 2).

    ``maxpool`` convolves with stride 1 and pools 2x2; ``strided`` convolves with stride 2, with as many parameters.
    ReLU is monotonic, so pooling before it gives the same bits as after it, on a quarter of the pixels.

    On a GPU (``cilp.models.layers.gpu``) it matters where in an encoder a block is: the ``first`` sees what sensors
    measured, which wants all of float32's precision, any other one feature maps; an ``inner`` one is followed by one
    more.
    """

    def __init__(self, inputs: int, outputs: int, downsampling: str, first: bool = False, inner: bool = False):
        super().__init__()
        if downsampling not in DOWNSAMPLINGS:
            raise ValueError(f"downsampling is {downsampling!r}; legal values: {', '.join(DOWNSAMPLINGS)}")
        pooled = downsampling == "maxpool"
        self.convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, stride=1 if pooled else 2)
        self.pool = nn.MaxPool2d(2) if pooled else nn.Identity()
        self.first, self.inner = first, inner

    def forward(self, x: Tensor) -> Tensor:
        if gpu.usable(x):
            return gpu.downsample(x, self.convolution, self.first, self.inner)
        return torch.relu(self.pool(self.convolution(x)))


def encoder(channels: list[int], downsampling: str) -> nn.Sequential:
    """A chain of ``Downsample`` blocks, ``channels[0]`` in and ``channels[-1]`` out, each halving height and width."""
    last = len(channels) - 2
    return nn.Sequential(
        *(
            Downsample(inputs, outputs, downsampling, first=number == 0, inner=number < last)
            for number, (inputs, outputs) in enumerate(itertools.pairwise(channels))
        )
    )


def classifier_head(features: int) -> nn.Sequential:
    """(B, features) -> (B, 1) logits, positive for a sphere, through one hidden layer of 100."""
    return nn.Sequential(nn.Linear(features, 100), nn.ReLU(), nn.Linear(100, 1))


def at_once(
    x: Tensor, of_x: Callable[[Tensor], Tensor], y: Tensor, of_y: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """``of_x(x)`` and ``of_y(y)``, which have no parameter in common; on a GPU at the same time, as their gradients.

    Each of the two is a chain of small kernels, which leave some of a large GPU idle: on an NVIDIA H200 a fusion trains
    1.1 times as fast.
    """
    if not y.is_cuda:
        return of_x(x), of_y(y)
    here, beside = torch.cuda.current_stream(y.device), _stream_beside(y.device)
    beside.wait_stream(here)
    y.record_stream(beside)  # or else its memory could serve another tensor here while it is still read there
    with torch.cuda.stream(beside):
        second = of_y(y)
    first = of_x(x)
    here.wait_stream(beside)
    second.record_stream(here)
    return first, second


@functools.cache
def _stream_beside(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def count_parameters(model: nn.Module) -> int:
    """Number of trainable scalars."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
