"""What a network costs by design, whatever the machine."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def multiply_adds(model: nn.Module, views: int) -> int:
    """Multiply-adds of a forward pass on one sample, in convolutions and linear layers, as PyTorch counts them.

    ``model`` lies on the CPU and takes ``views`` tensors (B, 4, 64, 64). Every pixel counts: the views are noise, so
    that no window (``cilp.models.windows``) saves anything.
    """
    generator = torch.Generator().manual_seed(0)
    samples = 2  # a background is what samples have in common; one alone would be all background
    noise = [torch.rand(samples, 4, 64, 64, generator=generator) for _ in range(views)]
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(*noise)
    return counter.get_total_flops() // 2 // samples  # two operations, multiplication and addition
