"""What follows a convolution on a GPU, in one pass over its result each way: bias, 2x2 max-pooling and ReLU.

The numbers are those of the plain layers, bit for bit, but for the bias's gradient, whose terms are summed in another
order, always the same.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

TILE = 2048
"""Elements of the result that a program works on at a time."""
TILES, PROGRAMS = 8, 512
"""A program works on up to so many tiles, one after the other, and sums their share of the bias's gradient; on fewer
where there would be less than so many programs, some for each of a large GPU's processors."""


def bias_pool_relu(
    x: Tensor, bias: Tensor, pool: int, channels: int | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """``relu(max_pool2d(x + bias, pool))`` for maps (B, C, H, W), channels-last, H and W even; ``pool`` 1 or 2.

    Maps are float32 or bfloat16, and so is the result: ``dtype``, or else as ``x``. ``bias`` is float32, and may have
    less than C channels: further ones have no bias. The result has the first ``channels`` of them, or else all.

    Raises:
        ImportError: Triton is not installed; anything that it raises where it cannot compile.
    """
    return _BiasPoolRelu.apply(x, bias, pool, channels or x.shape[1], dtype or x.dtype)


class _BiasPoolRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, pool: int, channels: int, dtype: torch.dtype) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        shape = (x.shape[0], channels, *(length // pool for length in x.shape[2:]))
        result = torch.empty(shape, dtype=dtype, device=x.device, memory_format=torch.channels_last)
        code = torch.empty(shape, dtype=torch.uint8, device=x.device, memory_format=torch.channels_last)
        from cilp.models.layers.gpu import pooling_kernels  # importing Triton takes time that a CPU has no use for

        launch, sizes = _launch(shape, x.shape[1], len(bias))
        pooling_kernels.pool_forward[launch](x, bias, result, code, **sizes, POOL=pool)
        ctx.save_for_backward(code)
        ctx.pool, ctx.shape, ctx.dtype, ctx.biases = pool, x.shape, x.dtype, len(bias)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        (code,) = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        to_x = torch.empty(ctx.shape, dtype=ctx.dtype, device=gradient.device, memory_format=torch.channels_last)
        from cilp.models.layers.gpu import pooling_kernels

        launch, sizes = _launch(gradient.shape, ctx.shape[1], ctx.biases)
        shares = torch.empty((*launch, ctx.biases), device=gradient.device)  # of the bias's gradient, for each program
        pooling_kernels.pool_backward[launch](gradient, code, to_x, shares, **sizes, POOL=ctx.pool)
        return to_x, shares.sum(dim=0), None, None, None


def _launch(shape: Sequence[int], of_x: int, of_bias: int) -> tuple[tuple[int], dict[str, int]]:
    """How many programs, and what they are told of the result, (B, C, H, W), of the channels of the maps and of the
    bias, and of their tiles: powers of two, all channels."""
    batch, channels, height, width = shape
    pixels, across = batch * height * width, max(16, 1 << (of_x - 1).bit_length())
    at_a_time = max(1, TILE // across)
    tiles = next(n for n in (TILES, 4, 2, 1) if n == 1 or pixels >= n * at_a_time * PROGRAMS)
    counts = {"OF_X": of_x, "OF_BIAS": of_bias, "CHANNELS": channels, "ACROSS": across}
    sizes = {"PIXELS": at_a_time, "TILES": tiles}
    return (-(-pixels // (at_a_time * tiles)),), {"pixels": pixels, "width": width, **counts, **sizes}
