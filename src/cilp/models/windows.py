"""The same convolutions on fewer pixels: most of a view is background, which needs computing once and not per sample.

Where a view shows what the empty view shows, so do its feature maps, except near the object. So each layer is computed
in a window around the object, and pasted into the feature map of the empty view. The result and its gradients are those
of the plain layers (``tests/test_windows.py``: equal to 1e-12 in float64).
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

SAMPLES = 64
"""Objects of like size are computed together, so many of them or more: a large one then widens few windows. Measured on
2 cores in batches of 32 and 128; smaller groups lost more to their number than they won."""


def darkness(rgb: Tensor) -> Tensor:
    """The image (4, H, W) in which nothing is seen, opaque black, for RGBA images (B, 4, H, W) in [0, 1]."""
    return rgb.new_tensor([0.0, 0.0, 0.0, 1.0]).view(4, 1, 1).expand(rgb.shape[1:])


def emptiness(lidar: Tensor) -> Tensor:
    """The view (4, H, W) in which no ray meets anything, as XYZA views (B, 4, H, W) show it where their mask is 0.

    A ray that meets something in every view gives no hint, and shows what it shows in one of them.
    """
    missed = lidar[:, 3].argmin(dim=0).expand(1, 4, *lidar.shape[2:])  # (1, 4, H, W), a sample for each ray
    return lidar.gather(0, missed).squeeze(0)


def encode(blocks: nn.Sequential, x: Tensor, empty: Tensor) -> Tensor:
    """What ``blocks(x)`` is, for a chain of ``Downsample`` and views (B, C, H, W) that mostly show ``empty`` (C, H, W).

    On a GPU the plain layers run: window sizes depend on the data, and reading them would hold the host up. So they do
    where the convolutions are strided, hence four times as cheap: there, windows were no faster.
    """
    if x.is_cuda or any(block.convolution.stride != (1, 1) for block in blocks):
        return blocks(x)
    seen = x.detach().ne(empty).any(dim=1)
    extents = [seen.any(dim=axis).sum(dim=1) for axis in (1, 2)]
    order = torch.maximum(*extents).argsort(stable=True)
    parts = [_encode(blocks, x[rows], seen[rows], empty) for rows in order.chunk(max(1, len(x) // SAMPLES))]
    return torch.cat(parts)[order.argsort()]


def _encode(blocks: nn.Sequential, x: Tensor, seen: Tensor, empty: Tensor) -> Tensor:
    """The same for samples whose windows all have the size of the largest one."""
    rows, columns = _Extent(seen.any(dim=2)), _Extent(seen.any(dim=1))
    full = pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1)  # (B, H + 2, W + 2, C): zero padding is part of the map
    empty = empty.unsqueeze(0)
    for number, block in enumerate(blocks):
        height, width = empty.shape[2] // 2, empty.shape[3] // 2
        rows.shrink(height)
        columns.shrink(width)
        if 4 * rows.size * columns.size > 3 * height * width:  # windows no longer pay
            return blocks[number:](full[:, 1:-1, 1:-1].permute(0, 3, 1, 2))
        empty = block(empty)
        patch = _Cut.apply(full, _window(rows, columns, 2)).permute(0, 3, 1, 2)
        patch = torch.relu(block.pool(conv2d(patch, block.convolution.weight, block.convolution.bias)))
        full = _Paste.apply(patch.permute(0, 2, 3, 1), empty[0].permute(1, 2, 0), _window(rows, columns, 1))
    return full[:, 1:-1, 1:-1].permute(0, 3, 1, 2)


class _Extent:
    """Along one axis, where each sample differs from the empty view: first index (B,), and one size for all."""

    def __init__(self, seen: Tensor):
        length = seen.shape[1]
        index = torch.arange(length)
        self.first = torch.where(seen, index, length).amin(dim=1)
        self.end = torch.where(seen, index + 1, 0).amax(dim=1)
        self.first = torch.minimum(self.first, self.end)  # nothing seen: an empty extent

    def shrink(self, length: int) -> None:
        """To the indices, ``length`` of them, that a 3-wide convolution and pooling by 2 reach."""
        self.first = (self.first - 1).clamp(min=0) // 2
        self.end = ((self.end + 2) // 2).clamp(max=length)
        self.size = max(int((self.end - self.first).max()), 1)
        self.first = self.first.clamp(max=length - self.size)
        self.end = self.first + self.size


def _window(rows: _Extent, columns: _Extent, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of each sample's window in a padded map: of inputs (stride 2, with halo) or of results (stride 1)."""
    halo = stride == 2

    def along(extent: _Extent) -> Tensor:
        first = extent.first * stride + (not halo)
        return first.unsqueeze(1) + torch.arange(extent.size * stride + 2 * halo)

    return torch.arange(len(rows.first)).view(-1, 1, 1), along(rows).unsqueeze(2), along(columns).unsqueeze(1)


class _Cut(torch.autograd.Function):
    """Windows (B, h, w, C) out of padded maps (B, H + 2, W + 2, C)."""

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
    """Windows (B, h, w, C) put into copies of the empty view's map (H, W, C), padded: (B, H + 2, W + 2, C)."""

    @staticmethod
    def forward(ctx, patch: Tensor, empty: Tensor, window: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        ctx.window = window
        full = pad(empty, (0, 0, 1, 1, 1, 1)).expand(len(patch), -1, -1, -1).contiguous()
        full[window] = patch
        return full

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        patch = gradient[ctx.window]
        outside = gradient.clone()
        outside[ctx.window] = 0
        return patch, outside[:, 1:-1, 1:-1].sum(dim=0), None
