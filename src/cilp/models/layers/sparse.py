"""The same convolutions near objects alone: most of a view is background, which needs computing once a batch.

Where a view shows what the empty view shows, so do its feature maps, except near the object. So the empty view goes
along as one more sample, and the others have pixels of their own only where they differ from it: what these depend on
is gathered, multiplied as one matrix, and becomes rows of the next map. That is how sparse convolutions are computed
(B. Graham et al., *3D Semantic Segmentation with Submanifold Sparse Convolutional Networks*, CVPR 2018), here for a
background that is not zero. Results and gradients are those of the plain layers (``tests/test_sparse.py``: equal to
1e-11 in float64).
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, pad

from cilp.models.layers import winograd
from cilp.models.layers.blocks import Downsample

ZEROS = 64
"""Rows of zeros. One would do, but its gradient, which nothing needs, would be one long sum."""
FEW = 16
"""Input channels below which a product over 3x3 pixels is as fast as Winograd's transforms and products."""
_on = True


@dataclass(frozen=True)
class Map:
    """Feature maps of B samples and of the empty view, which is sample 0."""

    rows: Tensor
    """(R + ZEROS, C): pixels, the empty view's and what differs from them; and zeros for what is beyond the border."""
    index: Tensor
    """(B + 1, H, W) int64: the row of each pixel."""
    seen: Tensor
    """(B + 1, H, W) bool: where a sample differs from the empty view; of that itself, everywhere."""


@contextlib.contextmanager
def off() -> Iterator[None]:
    """Within it, the plain layers compute every pixel."""
    global _on
    before, _on = _on, False
    try:
        yield
    finally:
        _on = before


def usable(x: Tensor, blocks: int) -> bool:
    """Whether a chain of so many blocks can be computed so for views (B, C, H, W).

    Not on a GPU: how many pixels there are depends on the data, and reading it would hold the host up.
    """
    return _on and x.device.type == "cpu" and not any(length % 2 ** (blocks + 1) for length in x.shape[2:])


def encode(blocks: nn.Sequential, x: Tensor, nothing: Callable[[], Tensor]) -> Tensor:
    """``blocks(x)`` for a chain of ``Downsample`` and views (B, C, H, W) that mostly show ``nothing()`` (C, H, W)."""
    return dense(feature_maps(blocks, x, nothing())) if usable(x, len(blocks)) else blocks(x)


def feature_maps(blocks: nn.Sequential, x: Tensor, nothing: Tensor) -> Map:
    """The same where it is ``usable``, not yet as one tensor."""
    views, empty = x.permute(0, 2, 3, 1), nothing.permute(1, 2, 0)  # (B, H, W, C)
    seen = pad(_differ(views.detach(), empty), (0, 0, 0, 0, 1, 0), value=True)
    rows = _with_zeros(empty.flatten(0, 1), views.flatten(0, 2))
    maps = Map(rows, torch.arange(seen.numel()).view(seen.shape), seen)
    for block in blocks:
        maps = downsample(block, maps)
    return maps


def downsample(block: Downsample, *inputs: Map, fuse: Callable[..., Tensor] | None = None) -> Map:
    """What ``block`` makes of a map, or of what ``fuse`` makes of several of equal size.

    ``fuse`` takes a part (T, C, h, w) of each and works pixel by pixel; of zeros it makes zeros.
    """
    layer = block.convolution
    seen = functools.reduce(torch.logical_or, (maps.seen for maps in inputs))
    if layer.stride == (2, 2):  # each result by itself, from 3x3 pixels
        seen = _pooled(seen, 3, padding=1)
        size, edge, result_of = 1, 3, _strided
        wanted = seen
    else:  # 2x2 results at once, each from 4x4 pixels
        seen = _pooled(seen, 4, padding=1)
        size, edge, result_of = 2, winograd.INPUT, _maxpool
        wanted = _pooled(seen, 2)
    wanted = wanted.flatten().nonzero().squeeze(1)  # (T,)
    patches = [_patches(maps, wanted, edge, 2 * size) for maps in inputs]
    if fuse is not None:
        patches = [fuse(*(patch.permute(0, 3, 1, 2) for patch in patches)).permute(0, 2, 3, 1)]
    (patches,) = patches
    rows = torch.relu(result_of(patches, layer.weight) + layer.bias)
    return Map(_with_zeros(rows), _index(seen, wanted, size), seen)


def dense(maps: Map) -> Tensor:
    """The samples' maps as one tensor (B, C, H, W), channels last in memory."""
    index = maps.index[1:]
    return maps.rows.index_select(0, index.flatten()).view(*index.shape, -1).permute(0, 3, 1, 2)


def _with_zeros(*rows: Tensor) -> Tensor:
    return torch.cat([*rows, rows[0].new_zeros(ZEROS, rows[0].shape[1])])


def _differ(views: Tensor, empty: Tensor) -> Tensor:
    """Which pixels (B, H, W) of views (B, H, W, C) show anything but ``empty`` (H, W, C).

    Four channels of a pixel, one after the other in memory, are compared as bits in pairs: a third of the time. A zero
    of the other sign then counts as seen, which costs a few products and changes no result.
    """
    if views.is_contiguous() and (views.shape[3], views.element_size()) == (4, 4):
        pairs = views.view(torch.int64) != empty.contiguous().view(torch.int64)
        return pairs.view(torch.int16).squeeze(3) != 0
    return (views != empty).any(dim=3)


def _pooled(seen: Tensor, pixels: int, padding: int = 0) -> Tensor:
    """Where anything is seen within so many pixels in each direction: (B, H, W) -> (B, H / 2, W / 2)."""
    return max_pool2d(seen.unsqueeze(1).float(), pixels, stride=2, padding=padding).squeeze(1) > 0


def _patches(maps: Map, wanted: Tensor, edge: int, stride: int) -> Tensor:
    """(T, edge, edge, C): pixels ``edge`` by ``edge``, of which neighbours begin ``stride`` apart and the first at -1.

    ``wanted`` (T,) are their numbers, counted along samples, rows and columns.
    """
    samples, height, width = maps.index.shape
    beyond = torch.arange((height + 2) * (width + 2)) % ZEROS + len(maps.rows) - ZEROS
    index = beyond.view(height + 2, width + 2).repeat(samples, 1, 1)
    index[:, 1:-1, 1:-1] = maps.index
    across, cells = width // stride, (height // stride) * (width // stride)
    row = wanted // cells * (height + 2) + wanted % cells // across * stride
    corner = row * (width + 2) + wanted % across * stride
    inside = torch.arange(edge).unsqueeze(1) * (width + 2) + torch.arange(edge)
    patches = maps.rows.index_select(0, index.flatten()[corner.unsqueeze(1) + inside.flatten()].flatten())
    if patches.requires_grad:
        patches.register_hook(Tensor.contiguous)  # a part of what was concatenated is summed up ten times as slowly
    return patches.view(len(wanted), edge, edge, -1)


def _strided(patches: Tensor, weight: Tensor) -> Tensor:
    """Convolution of patches (T, 3, 3, C): (T, K)."""
    return patches.flatten(1) @ _matrix(weight)


def _maxpool(patches: Tensor, weight: Tensor) -> Tensor:
    """Convolution of patches (T, 6, 6, C) and 2x2 max-pooling: (4 T, K)."""
    if patches.shape[3] < FEW:
        columns = patches.unfold(1, 3, 1).unfold(2, 3, 1).permute(0, 1, 2, 4, 5, 3)  # (T, 4, 4, 3, 3, C)
        result = columns.flatten(3) @ _matrix(weight)
    else:
        result = winograd.convolve(patches.flatten(1, 2), weight).unflatten(1, (winograd.OUTPUT, winograd.OUTPUT))
    return max_pool2d(result.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1).flatten(0, 2)


def _matrix(weight: Tensor) -> Tensor:
    """(K, C, 3, 3) -> (9 C, K)."""
    return weight.permute(2, 3, 1, 0).flatten(0, 2)


def _index(seen: Tensor, wanted: Tensor, size: int) -> Tensor:
    """The row of each pixel (B + 1, H, W), if there are ``size`` by ``size`` rows for each of ``wanted``.

    Where nothing is ``seen``, it is the empty view's.
    """
    samples, height, width = seen.shape
    number = torch.zeros(seen.numel() // size**2, dtype=torch.int64)
    number[wanted] = torch.arange(len(wanted))
    number = number.view(samples, height // size, 1, width // size, 1) * size**2
    index = (number + torch.arange(size**2).view(size, 1, size)).view(seen.shape)
    return torch.where(seen, index, index[:1])
