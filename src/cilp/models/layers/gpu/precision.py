"""In which precision a GPU convolves feature maps, and weights of the shape that its tensor cores want.

Tensor cores work on bfloat16 at twice the rate of TF32, and maps take half the memory, but only on multiples of eight
channels: cuDNN pads others in passes of its own, so maps within an encoder have some channels of zeros instead.
"""

import functools
from typing import Any

import torch
from torch import Tensor

KNOWN = (torch.float32, torch.bfloat16)
MULTIPLE = 8
"""Of channels, without which cuDNN pads."""


@functools.cache
def of_maps(device: torch.device) -> torch.dtype:
    """What feature maps are convolved in: bfloat16, or float32 where the device cannot.

    What sensors measured stays in float32: between 25 m and 25.125 m there is no bfloat16.
    """
    capable = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.bfloat16 if capable else torch.float32


def aligned(channels: int) -> int:
    """So many channels or the next higher multiple."""
    return -(-channels // MULTIPLE) * MULTIPLE


def widened(weight: Tensor, outputs: int, inputs: int, dtype: torch.dtype) -> Tensor:
    """A convolution's weights (O, I, H, W) in ``dtype``, with zeros for further channels: (outputs, inputs, H, W)."""
    if weight.shape[:2] == (outputs, inputs) and weight.dtype == dtype:
        return weight
    return _Widened.apply(weight, outputs, inputs, dtype)


class _Widened(torch.autograd.Function):
    """Each way a pass over the weights, where padding and a change of type would be three."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, outputs: int, inputs: int, dtype: torch.dtype) -> Tensor:
        ctx.shape, ctx.dtype = weight.shape, weight.dtype
        shape = (outputs, inputs, *weight.shape[2:])
        wide = torch.empty(shape, dtype=dtype, device=weight.device, memory_format=torch.channels_last)
        if weight.shape[:2] != (outputs, inputs):
            wide.zero_()
        wide[: weight.shape[0], : weight.shape[1]] = weight
        return wide

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        narrow = torch.empty(ctx.shape, dtype=ctx.dtype, device=gradient.device, memory_format=torch.channels_last)
        return narrow.copy_(gradient[: ctx.shape[0], : ctx.shape[1]]), None, None, None
