"""What a network costs by design, whatever the machine."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def multiply_adds(model: nn.Module, views: int) -> int:
    """Multiply-adds of a forward pass on one sample, in convolutions and linear layers, as PyTorch counts them.

    ``model`` takes ``views`` tensors (B, 4, 64, 64). Every pixel counts: on the meta device, which computes no numbers,
    the plain layers run and nothing is saved (``cilp.models.layers.sparse``).
    """
    sample = [torch.empty(1, 4, 64, 64, device="meta") for _ in range(views)]
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        copy.deepcopy(model).to("meta")(*sample)
    return counter.get_total_flops() // 2  # two operations, multiplication and addition
