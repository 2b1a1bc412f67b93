"""The kernels, in Triton. Maps lie channels-last: pixel after pixel, row after row, each with all its channels."""

import triton
import triton.language as tl


@triton.jit
def pool_forward(
    x, bias, result, code, pixels, width, OF_X: tl.constexpr, OF_BIAS: tl.constexpr,
    CHANNELS: tl.constexpr, ACROSS: tl.constexpr, PIXELS: tl.constexpr, TILES: tl.constexpr, POOL: tl.constexpr,
):  # fmt: skip
    """Largest of POOL x POOL pixels, bias and ReLU, and which of the pixels it was, as a code: its number, or 4 where
    ReLU made the result zero.

    ``pixels``, ``width`` and CHANNELS are the result's, the other two counts are of channels too; ACROSS channels by
    PIXELS are worked on at a time, TILES times.
    """
    channel = tl.arange(0, ACROSS)[None, :]
    inside = channel < CHANNELS
    shift = tl.load(bias + channel, mask=channel < OF_BIAS, other=0.0)
    for tile in range(TILES):
        pixel = (tl.program_id(0) * TILES + tile) * PIXELS + tl.arange(0, PIXELS)[:, None].to(tl.int64)
        mask = inside & (pixel < pixels)
        here = pixel * CHANNELS + channel
        if POOL == 2:
            row = 2 * width * OF_X  # of x; two of them for each of the result
            first = (pixel // width) * 2 * row + (pixel % width) * 2 * OF_X + channel
            best = tl.load(x + first, mask=mask, other=0.0).to(tl.float32)
            which = tl.zeros_like(best).to(tl.uint8)
            for number in tl.static_range(1, 4):
                place = x + first + (number // 2) * row + (number % 2) * OF_X
                value = tl.load(place, mask=mask, other=0.0).to(tl.float32)
                better = (value > best) | (value != value)  # the first of equals, and what is not a number
                best = tl.where(better, value, best)
                which = tl.where(better, number, which).to(tl.uint8)
        else:
            best = tl.load(x + pixel * OF_X + channel, mask=mask, other=0.0).to(tl.float32)
            which = tl.zeros_like(best).to(tl.uint8)
        best = best + shift
        dead = best <= 0
        tl.store(result + here, tl.where(dead, 0.0, best).to(result.dtype.element_ty), mask=mask)
        tl.store(code + here, tl.where(dead, 4, which).to(tl.uint8), mask=mask)


@triton.jit
def pool_backward(
    gradient, code, to_x, shares, pixels, width, OF_X: tl.constexpr, OF_BIAS: tl.constexpr,
    CHANNELS: tl.constexpr, ACROSS: tl.constexpr, PIXELS: tl.constexpr, TILES: tl.constexpr, POOL: tl.constexpr,
):  # fmt: skip
    """The gradient goes where the result came from; each program sums it per channel, for the bias."""
    channel = tl.arange(0, ACROSS)[None, :]
    total = tl.zeros((PIXELS, ACROSS), dtype=tl.float32)
    for tile in range(TILES):
        pixel = (tl.program_id(0) * TILES + tile) * PIXELS + tl.arange(0, PIXELS)[:, None].to(tl.int64)
        mask, mask_x = (channel < CHANNELS) & (pixel < pixels), (channel < OF_X) & (pixel < pixels)
        here = pixel * CHANNELS + channel
        which = tl.load(code + here, mask=mask, other=4)
        value = tl.where(which == 4, 0.0, tl.load(gradient + here, mask=mask, other=0.0).to(tl.float32))
        total += value
        if POOL == 2:
            row = 2 * width * OF_X
            first = (pixel // width) * 2 * row + (pixel % width) * 2 * OF_X + channel
            for number in tl.static_range(4):
                place = to_x + first + (number // 2) * row + (number % 2) * OF_X
                tl.store(place, tl.where(which == number, value, 0.0).to(to_x.dtype.element_ty), mask=mask_x)
        else:
            tl.store(to_x + pixel * OF_X + channel, value.to(to_x.dtype.element_ty), mask=mask_x)
    share = tl.sum(total, axis=0)
    tl.store(shares + tl.program_id(0) * OF_BIAS + tl.arange(0, ACROSS), share, mask=tl.arange(0, ACROSS) < OF_BIAS)
