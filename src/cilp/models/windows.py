"""The same convolutions on fewer pixels: most of a view is background, which needs computing once and not per sample.

Where a view shows what the empty view shows, so do its feature maps, except near the object. So each layer is computed
in windows around the objects, and pasted into the feature map of the empty view. The result and its gradients are those
of the plain layers (``tests/test_windows.py``: equal to 1e-12 in float64).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

SAMPLES = 64
"""Objects of like size are computed together, so many of them or more: a large one then widens few windows. Measured on
2 cores in batches of 32 and 128; smaller groups lost more to their number than they won."""
DEPTH = {"maxpool": 1, "strided": 2}
"""Blocks that run in one window before their result is pasted. Strided convolutions are so cheap that pasting after
each of them costs what the window saves; through two of them a window grows little."""

VIEWS = 8
"""Views among which the empty one is looked for. An object covers about a twentieth of a view, so that hardly a ray
meets one in all of so many."""


def darkness(rgb: Tensor) -> Tensor:
    """The image (4, H, W) in which nothing is seen, opaque black, for RGBA images (B, 4, H, W) in [0, 1]."""
    empty = torch.zeros_like(rgb[0])  # made on the device: copying four numbers to a GPU would hold the host up
    empty[3] = 1.0
    return empty


def emptiness(lidar: Tensor) -> Tensor:
    """The view (4, H, W) in which no ray meets anything, as XYZA views (B, 4, H, W) show it where their mask is 0.

    A ray that meets something in each of the first ``VIEWS`` gives no hint, and shows what it shows in one of them;
    any other view would do too, but windows are as large as what differs from it.
    """
    views = lidar[:VIEWS]
    while len(views) > 1:  # by halves: a few small operations instead of a reduction along the slowest axis
        half = (len(views) + 1) // 2
        first, second = views[:half], views[-half:]
        views = torch.where(second[:, 3:] < first[:, 3:], second, first)
    return views[0]


def encode(blocks: nn.Sequential, x: Tensor, nothing: Callable[[], Tensor]) -> Tensor:
    """What ``blocks(x)`` is, for a chain of ``Downsample`` and views (B, C, H, W) that mostly show ``nothing()``.

    On a GPU the plain layers run: window sizes depend on the data, and reading them would hold the host up.
    """
    if x.is_cuda:
        return blocks(x)
    empty = nothing()
    down, across = _seen(x.detach(), empty)
    groups = len(x) // SAMPLES
    if groups < 2:
        return _encode(blocks, x, down, across, empty)
    order = torch.maximum(down.sum(dim=1), across.sum(dim=1)).argsort(stable=True)
    parts = [_encode(blocks, x[rows], down[rows], across[rows], empty) for rows in order.chunk(groups)]
    return torch.cat(parts)[order.argsort()]


def _seen(x: Tensor, empty: Tensor) -> tuple[Tensor, Tensor]:
    """Which rows (B, H) and columns (B, W) of views (B, C, H, W) hold anything but what ``empty`` (C, H, W) shows.

    Four channels of a pixel, one after the other in memory, are compared as bits in pairs, several pixels are reduced
    at once: 180 us instead of 780 for a batch of 32 on 2 cores. A zero of the other sign then counts as seen, which
    widens a window and changes no result.
    """
    x, empty = x.permute(0, 2, 3, 1), empty.permute(1, 2, 0)
    if x.is_contiguous() and (x.shape[3], x.element_size(), x.shape[2] % 8) == (4, 4, 0):
        x, empty = x.view(torch.int64), empty.contiguous().view(torch.int64)
        seen = x.ne(empty).view(torch.int16).squeeze(3)  # (B, H, W), two bytes a pixel
        return seen.view(torch.int64).any(dim=2), seen.amax(dim=1).ne(0)
    seen = x.ne(empty).any(dim=3)
    return seen.any(dim=2), seen.any(dim=1)


def _encode(blocks: nn.Sequential, x: Tensor, down: Tensor, across: Tensor, empty: Tensor) -> Tensor:
    """The same for samples whose windows all have the size of the largest one.

    ``down`` (B, H) and ``across`` (B, W) say which rows and columns show something.
    """
    pooled = blocks[0].convolution.stride == (1, 1)
    depth = DEPTH["maxpool" if pooled else "strided"]
    rows, columns = _Extent(down, pooled), _Extent(across, pooled)
    halo = _halo(blocks[:depth])
    full = pad(x, (halo,) * 4).permute(0, 2, 3, 1)  # (B, H + 2 halo, W + 2 halo, C): zero padding is part of the map
    empty = empty.unsqueeze(0)
    for number in range(0, len(blocks), depth):
        part = blocks[number : number + depth]
        rows.shrink(len(part))
        columns.shrink(len(part))
        if 4 * rows.size * columns.size > 3 * rows.length * columns.length:  # windows no longer pay
            return blocks[number:](full[:, halo:-halo, halo:-halo].permute(0, 3, 1, 2))
        patch, empty = _in_windows(part, full, rows, columns, halo), part(empty)
        halo = _halo(blocks[number + depth : number + 2 * depth])
        full = _Paste.apply(patch, empty[0].permute(1, 2, 0), _window(rows.span(), columns.span(), halo), halo)
    return full.permute(0, 3, 1, 2)


def _halo(blocks: nn.Sequential) -> int:
    """How far a window of what ``blocks`` are given may lie beyond the map."""
    return 2 ** len(blocks) - 1


def _in_windows(blocks: nn.Sequential, full: Tensor, rows: "_Extent", columns: "_Extent", halo: int) -> Tensor:
    """What ``blocks`` give in each sample's window, (B, h, w, C), from padded maps (B, H + 2 halo, W + 2 halo, C)."""
    spans = [(rows.span(before), columns.span(before)) for before in range(len(blocks), -1, -1)]
    patch = _Cut.apply(full, _window(*spans[0], halo)).permute(0, 3, 1, 2)
    for number, (block, inner) in enumerate(zip(blocks, spans[1:], strict=True), 1):
        layer = block.convolution
        patch = torch.relu(block.pool(conv2d(patch, layer.weight, layer.bias, layer.stride)))
        if number < len(blocks):  # what lies beyond the map is zero padding for the next convolution
            down, across = (span.inside() for span in inner)
            patch = patch * (down.unsqueeze(2) & across.unsqueeze(1)).unsqueeze(1)
    return patch.permute(0, 2, 3, 1)


@dataclass(frozen=True)
class _Span:
    """Consecutive indices along one axis of a map of ``length``: ``size`` of them from ``first`` (B,) on."""

    first: Tensor
    size: int
    length: int

    def indices(self) -> Tensor:
        """(B, size), beyond the map as well."""
        return self.first.unsqueeze(1) + torch.arange(self.size)

    def inside(self) -> Tensor:
        """(B, size), which of them the map has."""
        indices = self.indices()
        return (indices >= 0) & (indices < self.length)


class _Extent:
    """Along one axis, where each sample differs from the empty view: first index (B,), and one size for all."""

    def __init__(self, seen: Tensor, pooled: bool):
        self.pooled, self.length = int(pooled), seen.shape[1]
        index = torch.arange(self.length)
        self.first = torch.where(seen, index, self.length).amin(dim=1)
        self.end = torch.where(seen, index + 1, 0).amax(dim=1)
        self.first = torch.minimum(self.first, self.end)  # nothing seen: an empty extent

    def shrink(self, blocks: int) -> None:
        """To the indices that it reaches through so many blocks.

        Index i of a result depends on 2i - 1 to 2i + 1 of what the block is given, and, where it pools, on 2i + 2.
        """
        for _ in range(blocks):
            self.length //= 2
            self.first = (self.first - self.pooled).clamp(min=0) // 2
            self.end = ((self.end + 2) // 2).clamp(max=self.length)
        self.size = max(int((self.end - self.first).max()), 1)
        self.first = self.first.clamp(max=self.length - self.size)
        self.end = self.first + self.size

    def span(self, before: int = 0) -> _Span:
        """The window, or what of the map so many blocks before it depends on."""
        first, size = self.first, self.size
        for _ in range(before):
            first, size = 2 * first - 1, 2 * size + 1 + self.pooled
        return _Span(first, size, self.length << before)


def _window(rows: _Span, columns: _Span, halo: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of each sample's window in a map that is padded by ``halo``."""
    samples = torch.arange(len(rows.first)).view(-1, 1, 1)
    return samples, (rows.indices() + halo).unsqueeze(2), (columns.indices() + halo).unsqueeze(1)


class _Cut(torch.autograd.Function):
    """Windows (B, h, w, C) out of padded maps (B, H, W, C)."""

    @staticmethod
    def forward(ctx, full: Tensor, window: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        ctx.window, ctx.shape = window, full.shape
        return full[window]

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        full = gradient.new_zeros(ctx.shape)
        full[ctx.window] = gradient  # no index occurs twice
        return full, None


class _Paste(torch.autograd.Function):
    """Windows (B, h, w, C) put into copies of the empty view's map (H, W, C): (B, H + 2 halo, W + 2 halo, C)."""

    @staticmethod
    def forward(ctx, patch: Tensor, empty: Tensor, window: tuple[Tensor, Tensor, Tensor], halo: int) -> Tensor:
        ctx.window, ctx.halo = window, halo
        full = pad(empty, (0, 0, *(halo,) * 4)).expand(len(patch), -1, -1, -1).contiguous()
        full[window] = patch
        return full

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        patch = gradient[ctx.window]
        outside = gradient.clone()
        outside[ctx.window] = 0
        height, width = (length - 2 * ctx.halo for length in outside.shape[1:3])
        return patch, outside.sum(dim=0)[ctx.halo :, ctx.halo :][:height, :width], None, None
