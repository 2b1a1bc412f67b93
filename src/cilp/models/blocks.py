"""Building blocks that the networks share."""

import itertools

import torch
from torch import Tensor, nn

DOWNSAMPLINGS = ("maxpool", "strided")


class Downsample(nn.Module):
    """3x3 convolution and ReLU that halve height and width: (B, inputs, H, W) -> (B, outputs, H / 2, W / 2).

    ``maxpool`` convolves with stride 1 and pools 2x2; ``strided`` convolves with stride 2, with as many parameters.
    ReLU is monotonic, so pooling before it gives the same bits as after it, on a quarter of the pixels.
    """

    def __init__(self, inputs: int, outputs: int, downsampling: str):
        super().__init__()
        if downsampling not in DOWNSAMPLINGS:
            raise ValueError(f"downsampling is {downsampling!r}; legal values: {', '.join(DOWNSAMPLINGS)}")
        pooled = downsampling == "maxpool"
        self.convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, stride=1 if pooled else 2)
        self.pool = nn.MaxPool2d(2) if pooled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.pool(self.convolution(x)))


def encoder(channels: list[int], downsampling: str) -> nn.Sequential:
    """A chain of ``Downsample`` blocks, ``channels[0]`` in and ``channels[-1]`` out, each halving height and width."""
    return nn.Sequential(*(Downsample(i, o, downsampling) for i, o in itertools.pairwise(channels)))


def classifier_head(features: int) -> nn.Sequential:
    """(B, features) -> (B, 1) logits, positive for a sphere, through one hidden layer of 100."""
    return nn.Sequential(nn.Linear(features, 100), nn.ReLU(), nn.Linear(100, 1))


def count_parameters(model: nn.Module) -> int:
    """Number of trainable scalars."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
