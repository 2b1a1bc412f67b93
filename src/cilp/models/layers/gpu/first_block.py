"""The first block of an encoder on a GPU, in one pass each way: the convolution of what a sensor measured, bias,
max-pooling and ReLU.

That convolution reads 4 channels and writes 50, four times as many pixels as pooling leaves: more than half of what an
embedder's convolutions write, for a sixteenth of their products. Here it never reaches memory.
"""

from typing import Any

import torch
from torch import Tensor

FORWARD = {"PIXELS": 32, "PRECISION": "tf32x3", "num_warps": 4}
BACKWARD = {"PIXELS": 32, "PRECISION": "tf32", "num_warps": 4}
"""How many pixels of the result a program works on at a time, and how. Forward, these took half as long as the slowest
of the tiles tried on an NVIDIA H200; backward, no others have been tried."""
TILES, PROGRAMS = 8, 512
"""For the gradients, a program works on up to so many tiles, on fewer where there would be less than so many of
them."""


def takes(x: Tensor) -> bool:
    """Whether ``convolve_pool`` takes such views: tiles are powers of two, indices have 32 bits, views get no
    gradient."""
    sized = x.shape[1] in (4, 8, 16) and x.numel() < 2**28
    return x.dtype == torch.float32 and sized and not x.requires_grad


def convolve_pool(x: Tensor, weight: Tensor, bias: Tensor, pool: int, channels: int, dtype: torch.dtype) -> Tensor:
    """``relu(max_pool2d(conv2d(x, weight, bias, 3 - pool, 1), pool))``, with zeros as further channels up to
    ``channels``, in ``dtype``.

    ``x`` is views (B, C, H, W) that ``takes`` takes, H and W even, ``weight`` (O, C, 3, 3), ``pool`` 1 or 2. Products
    are as exact as those of float32 (three of TF32 each); for the gradients, they are in TF32.

    Raises:
        ImportError: Triton is not installed; anything that it raises where it cannot compile.
    """
    return _FirstBlock.apply(x, weight, bias, pool, channels, dtype)


class _FirstBlock(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, pool: int, channels: int, dtype: torch.dtype
    ) -> Tensor:
        from cilp.models.layers.gpu import first_block_kernels  # importing Triton takes time that a CPU has no use for

        x = x.contiguous(memory_format=torch.channels_last)
        weight = weight.contiguous(memory_format=torch.channels_last)
        batch, inputs, height, width = x.shape
        shape = (batch, channels, height // 2, width // 2)
        result = torch.empty(shape, dtype=dtype, device=x.device, memory_format=torch.channels_last)
        code = torch.empty(shape, dtype=torch.uint8, device=x.device, memory_format=torch.channels_last)
        ctx.sizes = _sizes(shape, inputs, len(bias), pool)
        programs = -(-ctx.sizes["pixels"] // FORWARD["PIXELS"])
        first_block_kernels.first_forward[(programs,)](x, weight, bias, result, code, **ctx.sizes, **FORWARD)
        ctx.save_for_backward(x, code)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, Tensor, None, None, None]:
        from cilp.models.layers.gpu import first_block_kernels

        x, code = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        tiles = -(-ctx.sizes["pixels"] // BACKWARD["PIXELS"])
        each = next(n for n in (TILES, 4, 2, 1) if n == 1 or tiles >= n * PROGRAMS)
        programs, outputs, inputs = -(-tiles // each), ctx.sizes["OF_BIAS"], ctx.sizes["INPUTS"]
        of_weight = torch.empty((programs * ctx.sizes["POOL"], outputs, 3, 3, inputs), device=x.device)
        of_bias = torch.empty((programs, outputs), device=x.device)
        first_block_kernels.first_backward[(programs,)](
            gradient, code, x, of_weight, of_bias, **ctx.sizes, **BACKWARD, TILES=each
        )
        return None, of_weight.sum(dim=0).permute(0, 3, 1, 2), of_bias.sum(dim=0), None, None, None


def _sizes(shape: tuple[int, ...], inputs: int, outputs: int, pool: int) -> dict[str, int]:
    """What both kernels are told: of the result, (B, C, H, W), and of tiles, whose sides are powers of two."""
    batch, channels, height, width = shape
    return {
        "pixels": batch * height * width,
        "height": height,
        "width": width,
        "INPUTS": inputs,
        "OF_BIAS": outputs,
        "CHANNELS": channels,
        "ACROSS": max(16, 1 << (channels - 1).bit_length()),
        "TAPS": 4 * inputs,
        "POOL": pool,
    }
