"""What follows a convolution on a GPU, in one pass over its result each way: bias, 2x2 max-pooling and ReLU.

PyTorch's kernels for these, each with a pass of its own, took more than a quarter of a training step on an NVIDIA H200;
these take less than a tenth. The numbers are those of the plain layers, bit for bit, but for the bias's gradient, whose
terms are summed in another order, always the same. Written in Triton, which PyTorch brings along on Linux.
"""

import functools
from typing import Any

import torch
from torch import Tensor

TILE = 2048
"""Elements of the result that a program works on at a time."""
TILES, PROGRAMS = 8, 512
"""A program works on up to so many tiles, one after the other, and sums their share of the bias's gradient; on fewer
where there would be less than so many programs, some for each of a large GPU's processors."""
DEAD = 4
"""Code of a result that ReLU made zero; others have the number of the pixel, of the four, that they come from."""


def usable(x: Tensor) -> bool:
    """Whether ``bias_pool_relu`` takes these maps, and there is a GPU for it."""
    return x.is_cuda and x.dtype == torch.float32 and not (x.shape[2] % 2 or x.shape[3] % 2) and available()


def bias_pool_relu(x: Tensor, bias: Tensor, pool: int) -> Tensor:
    """``relu(max_pool2d(x + bias, pool))`` for maps (B, C, H, W) float32, channels-last, H and W even; ``pool`` 1 or 2.

    Raises:
        ImportError: Triton is not installed; anything that it raises where it cannot compile.
    """
    return _BiasPoolRelu.apply(x, bias, pool)


@functools.cache
def available(device: str = "cuda") -> bool:
    """Whether this GPU can run the kernels; says in one line why if not."""
    try:
        with torch.inference_mode(False), torch.enable_grad():  # whatever the one asks for them who is the first
            x = torch.ones(2, 5, 4, 6, device=device, requires_grad=True)
            bias_pool_relu(x, torch.zeros(5, device=device), 2).sum().backward()
    except Exception as error:  # no Triton, no compiler for what it generates, a GPU that it does not know
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        print(f"no kernels for pooling, PyTorch's own run: {reason}")
        return False
    return True


class _BiasPoolRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, pool: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        shape = (*x.shape[:2], *(length // pool for length in x.shape[2:]))
        result = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        code = torch.empty(shape, dtype=torch.uint8, device=x.device, memory_format=torch.channels_last)
        from cilp.models.pooling import kernels  # importing Triton takes time that a CPU has no use for

        launch, sizes = _launch(result)
        kernels.forward[launch](x, bias, result, code, **sizes, POOL=pool)
        ctx.save_for_backward(code)
        ctx.pool, ctx.shape = pool, x.shape
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        (code,) = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        to_x = torch.empty(ctx.shape, dtype=gradient.dtype, device=gradient.device, memory_format=torch.channels_last)
        from cilp.models.pooling import kernels

        launch, sizes = _launch(gradient)
        shares = gradient.new_empty((*launch, ctx.shape[1]))  # of the bias's gradient, one for each program
        kernels.backward[launch](gradient, code, to_x, shares, **sizes, POOL=ctx.pool)
        return to_x, shares.sum(dim=0), None


def _launch(result: Tensor) -> tuple[tuple[int], dict[str, int]]:
    """How many programs, and what they are told of the result and of their tiles: powers of two, all channels."""
    batch, channels, height, width = result.shape
    pixels, across = batch * height * width, max(16, 1 << (channels - 1).bit_length())
    at_a_time = max(1, TILE // across)
    tiles = next(n for n in (TILES, 4, 2, 1) if n == 1 or pixels >= n * at_a_time * PROGRAMS)
    sizes = {"CHANNELS": channels, "ACROSS": across, "PIXELS": at_a_time, "TILES": tiles}
    return (-(-pixels // (at_a_time * tiles)),), {"pixels": pixels, "width": width, **sizes}
