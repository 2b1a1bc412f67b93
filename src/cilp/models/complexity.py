"""What a network costs by design, whatever the machine."""

import copy

import torch
from torch import Tensor, nn

from cilp.models.layers import sparse


def multiply_adds(model: nn.Module, views: int) -> int:
    """Multiply-adds of a forward pass on one sample, in convolutions and linear layers; every pixel counts.

    ``model`` takes ``views`` tensors (B, 4, 64, 64). They are as many as PyTorch's ``FlopCounterMode`` counts
    (``tests/test_models.py``), which would import PyTorch's compiler to do so, as would any layer on the meta device:
    two thirds of what importing all of PyTorch takes.
    """
    counted = 0

    def count(layer: nn.Conv2d | nn.Linear, _: tuple[Tensor, ...], result: Tensor) -> None:
        nonlocal counted
        counted += result.numel() * layer.weight[0].numel()

    model = copy.deepcopy(model)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with sparse.off(), torch.inference_mode():
        model(*(torch.zeros(1, 4, 64, 64) for _ in range(views)))
    return counted
