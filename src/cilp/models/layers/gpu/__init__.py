"""A block of an encoder on a GPU: kernels of our own around the convolutions, which run in low precision.

On an NVIDIA H200 a step waits for memory more than for products. PyTorch's kernels for bias, pooling and ReLU, each
with a pass of its own over maps, took a quarter of it, and cuDNN's padding of 50 channels a tenth. Where a GPU or what
is installed lacks something, plain layers run. Written in Triton, which PyTorch brings along on Linux.
"""

import functools

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.nn.utils import skip_init

from cilp.models.layers.gpu import first_block, pooling, precision


def usable(x: Tensor) -> bool:
    """Whether ``downsample`` takes these views or maps (B, C, H, W)."""
    return x.is_cuda and x.dtype in precision.KNOWN and not (x.shape[2] % 2 or x.shape[3] % 2) and available()


def downsample(x: Tensor, layer: nn.Conv2d, first: bool, inner: bool) -> Tensor:
    """``relu(max_pool2d(layer(x), 2))``, or without the pooling if ``layer`` has a stride of 2.

    ``x`` is what sensors measured if ``first``, float32, else feature maps, perhaps with further channels of zeros. The
    result is like that if ``inner``, in low precision; or else float32 (B, layer.out_channels, H / 2, W / 2).
    """
    low = precision.of_maps(x.device)
    wide = layer.out_channels if low == torch.float32 else precision.aligned(layer.out_channels)
    channels, dtype = (wide, low) if inner else (layer.out_channels, torch.float32)
    pool = 1 if layer.stride == (2, 2) else 2
    if first and low != torch.float32 and first_block.takes(x):
        return first_block.convolve_pool(x, layer.weight, layer.bias, pool, channels, dtype)
    x = x if first else x.to(low)
    x = conv2d(x, precision.widened(layer.weight, wide, x.shape[1], x.dtype), None, layer.stride, layer.padding)
    return pooling.bias_pool_relu(x, layer.bias, pool, channels, dtype)


@functools.cache
def available(device: str = "cuda") -> bool:
    """Whether this GPU can run the kernels; says in one line why if not."""
    try:
        with torch.inference_mode(False), torch.enable_grad():  # whatever the one asks for them who is the first
            layer = skip_init(nn.Conv2d, 4, 5, kernel_size=3, padding=1, device=device)  # random numbers are not ours
            x = torch.ones(2, 4, 4, 8, device=device)
            for first in (True, False):
                downsample(x, layer, first, inner=True).sum().backward()
    except torch.OutOfMemoryError:  # whoever takes up the memory: it says nothing of the kernels
        raise
    except Exception as error:  # no Triton, no compiler for what it generates, a GPU that it does not know
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        print(f"no kernels of our own on this GPU, PyTorch's run: {reason}")
        return False
    return True
