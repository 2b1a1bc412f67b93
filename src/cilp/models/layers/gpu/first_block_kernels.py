"""The kernels of a first block, in Triton. Maps lie channels-last; ``pixels``, ``height`` and ``width`` are the
result's, CHANNELS and OF_BIAS count the channels of the result and those that the convolution has weights for.

A pixel of the result depends on 4x4 of a view, of which a row is 4 x INPUTS numbers side by side. So its convolutions
are products of four such rows with the three rows of the weights, shifted by a pixel for every other one: ACROSS
channels by PIXELS, TAPS numbers deep. Where views are zero there is nothing to multiply.
"""

import triton
import triton.language as tl


@triton.jit
def _row(x, pixel, pixels, height, width, down, INPUTS: tl.constexpr, TAPS: tl.constexpr):
    """(PIXELS, TAPS): a row of what each pixel of the result depends on, zero beyond the view."""
    tap = tl.arange(0, TAPS)[None, :]
    row = 2 * ((pixel // width) % height) + down - 1
    column = 2 * (pixel % width) - 1
    across = column[:, None] + tap // INPUTS
    inside = (pixel < pixels) & (row >= 0) & (row < 2 * height)
    mask = inside[:, None] & (across >= 0) & (across < 2 * width)
    first = ((pixel // (width * height)) * 2 * height + row) * 2 * width + column
    return tl.load(x + first[:, None] * INPUTS + tap, mask=mask, other=0.0)


@triton.jit
def _weights(
    weight, down, shift,
    INPUTS: tl.constexpr, OF_BIAS: tl.constexpr, ACROSS: tl.constexpr, TAPS: tl.constexpr,
):  # fmt: skip
    """(TAPS, ACROSS): a row of the weights, for the pixel ``shift`` to the right."""
    channel = tl.arange(0, ACROSS)[None, :]
    tap = tl.arange(0, TAPS)[:, None] - shift * INPUTS
    mask = (channel < OF_BIAS) & (tap >= 0) & (tap < 3 * INPUTS)
    return tl.load(weight + (channel * 3 + down) * 3 * INPUTS + tap, mask=mask, other=0.0)


@triton.jit
def _anything(a, b, c):
    """Whether any number of three rows of views is not zero."""
    return tl.max(tl.max(((a != 0) | (b != 0) | (c != 0)).to(tl.int32), axis=1), axis=0) > 0


@triton.jit
def _larger(best, which, value, number):
    """The larger of two, and which of the pixels it is: the first of equals, and what is not a number."""
    better = (value > best) | (value != value)
    return tl.where(better, value, best), tl.where(better, number, which)


@triton.jit
def _products(a, b, c, top, middle, bottom, PRECISION: tl.constexpr):
    """(PIXELS, ACROSS): three rows of the view with three of the weights."""
    value = tl.dot(a, top, input_precision=PRECISION)
    value = tl.dot(b, middle, value, input_precision=PRECISION)
    return tl.dot(c, bottom, value, input_precision=PRECISION)


@triton.jit
def first_forward(
    x, weight, bias, result, code, pixels, height, width, INPUTS: tl.constexpr, OF_BIAS: tl.constexpr,
    CHANNELS: tl.constexpr, ACROSS: tl.constexpr, PIXELS: tl.constexpr, TAPS: tl.constexpr, POOL: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Convolution, the largest of POOL x POOL pixels, bias and ReLU, and which of the pixels it was."""
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, ACROSS)
    a = _row(x, pixel, pixels, height, width, 0, INPUTS, TAPS)
    b = _row(x, pixel, pixels, height, width, 1, INPUTS, TAPS)
    c = _row(x, pixel, pixels, height, width, 2, INPUTS, TAPS)
    top = _weights(weight, 0, 0, INPUTS, OF_BIAS, ACROSS, TAPS)
    middle = _weights(weight, 1, 0, INPUTS, OF_BIAS, ACROSS, TAPS)
    bottom = _weights(weight, 2, 0, INPUTS, OF_BIAS, ACROSS, TAPS)
    best = tl.zeros((PIXELS, ACROSS), dtype=tl.float32)
    which = tl.zeros((PIXELS, ACROSS), dtype=tl.int32)
    if POOL == 2:
        d = _row(x, pixel, pixels, height, width, 3, INPUTS, TAPS)
        if _anything(a, b, c) | _anything(b, c, d):
            best = _products(a, b, c, top, middle, bottom, PRECISION)
            right_top = _weights(weight, 0, 1, INPUTS, OF_BIAS, ACROSS, TAPS)
            right_middle = _weights(weight, 1, 1, INPUTS, OF_BIAS, ACROSS, TAPS)
            right_bottom = _weights(weight, 2, 1, INPUTS, OF_BIAS, ACROSS, TAPS)
            value = _products(a, b, c, right_top, right_middle, right_bottom, PRECISION)
            best, which = _larger(best, which, value, 1)
            value = _products(b, c, d, top, middle, bottom, PRECISION)
            best, which = _larger(best, which, value, 2)
            value = _products(b, c, d, right_top, right_middle, right_bottom, PRECISION)
            best, which = _larger(best, which, value, 3)
    elif _anything(a, b, c):
        best = _products(a, b, c, top, middle, bottom, PRECISION)
    best += tl.load(bias + channel, mask=channel < OF_BIAS, other=0.0)[None, :]
    dead = best <= 0
    here = pixel[:, None] * CHANNELS + channel[None, :]
    mask = (pixel < pixels)[:, None] & (channel < CHANNELS)[None, :]
    tl.store(result + here, tl.where(dead, 0.0, best).to(result.dtype.element_ty), mask=mask)
    tl.store(code + here, tl.where(dead, 4, which).to(tl.uint8), mask=mask)


@triton.jit
def _store(
    of_weight, row, total, down, shift,
    INPUTS: tl.constexpr, OF_BIAS: tl.constexpr, ACROSS: tl.constexpr, TAPS: tl.constexpr,
):  # fmt: skip
    """A share of the gradient of a row of the weights, (ACROSS, TAPS)."""
    channel = tl.arange(0, ACROSS)[:, None]
    tap = tl.arange(0, TAPS)[None, :] - shift * INPUTS
    mask = (channel < OF_BIAS) & (tap >= 0) & (tap < 3 * INPUTS)
    tl.store(of_weight + ((row * OF_BIAS + channel) * 3 + down) * 3 * INPUTS + tap, total, mask=mask)


@triton.jit
def first_backward(
    gradient, code, x, of_weight, of_bias, pixels, height, width, INPUTS: tl.constexpr, OF_BIAS: tl.constexpr,
    CHANNELS: tl.constexpr, ACROSS: tl.constexpr, PIXELS: tl.constexpr, TAPS: tl.constexpr, POOL: tl.constexpr,
    PRECISION: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """Each program's shares of the gradients of weight, one for each shift, and bias, from TILES tiles."""
    program = tl.program_id(0)
    channel = tl.arange(0, ACROSS)
    top = tl.zeros((ACROSS, TAPS), dtype=tl.float32)
    middle = tl.zeros((ACROSS, TAPS), dtype=tl.float32)
    bottom = tl.zeros((ACROSS, TAPS), dtype=tl.float32)
    right_top = tl.zeros((ACROSS, TAPS), dtype=tl.float32)
    right_middle = tl.zeros((ACROSS, TAPS), dtype=tl.float32)
    right_bottom = tl.zeros((ACROSS, TAPS), dtype=tl.float32)
    total = tl.zeros((ACROSS,), dtype=tl.float32)
    for tile in range(TILES):
        pixel = (program * TILES + tile) * PIXELS + tl.arange(0, PIXELS)
        mask = (pixel < pixels)[:, None] & (channel < CHANNELS)[None, :]
        here = pixel[:, None] * CHANNELS + channel[None, :]
        which = tl.load(code + here, mask=mask, other=4)
        value = tl.where(which == 4, 0.0, tl.load(gradient + here, mask=mask, other=0.0).to(tl.float32))
        total += tl.sum(value, axis=0)
        a = _row(x, pixel, pixels, height, width, 0, INPUTS, TAPS)
        b = _row(x, pixel, pixels, height, width, 1, INPUTS, TAPS)
        c = _row(x, pixel, pixels, height, width, 2, INPUTS, TAPS)
        if POOL == 2:
            d = _row(x, pixel, pixels, height, width, 3, INPUTS, TAPS)
            if _anything(a, b, c) | _anything(b, c, d):
                chosen = tl.trans(tl.where(which == 0, value, 0.0))
                top = tl.dot(chosen, a, top, input_precision=PRECISION)
                middle = tl.dot(chosen, b, middle, input_precision=PRECISION)
                bottom = tl.dot(chosen, c, bottom, input_precision=PRECISION)
                chosen = tl.trans(tl.where(which == 1, value, 0.0))
                right_top = tl.dot(chosen, a, right_top, input_precision=PRECISION)
                right_middle = tl.dot(chosen, b, right_middle, input_precision=PRECISION)
                right_bottom = tl.dot(chosen, c, right_bottom, input_precision=PRECISION)
                chosen = tl.trans(tl.where(which == 2, value, 0.0))
                top = tl.dot(chosen, b, top, input_precision=PRECISION)
                middle = tl.dot(chosen, c, middle, input_precision=PRECISION)
                bottom = tl.dot(chosen, d, bottom, input_precision=PRECISION)
                chosen = tl.trans(tl.where(which == 3, value, 0.0))
                right_top = tl.dot(chosen, b, right_top, input_precision=PRECISION)
                right_middle = tl.dot(chosen, c, right_middle, input_precision=PRECISION)
                right_bottom = tl.dot(chosen, d, right_bottom, input_precision=PRECISION)
        elif _anything(a, b, c):
            chosen = tl.trans(tl.where(which == 0, value, 0.0))
            top = tl.dot(chosen, a, top, input_precision=PRECISION)
            middle = tl.dot(chosen, b, middle, input_precision=PRECISION)
            bottom = tl.dot(chosen, c, bottom, input_precision=PRECISION)
    _store(of_weight, program * POOL, top, 0, 0, INPUTS, OF_BIAS, ACROSS, TAPS)
    _store(of_weight, program * POOL, middle, 1, 0, INPUTS, OF_BIAS, ACROSS, TAPS)
    _store(of_weight, program * POOL, bottom, 2, 0, INPUTS, OF_BIAS, ACROSS, TAPS)
    if POOL == 2:
        _store(of_weight, program * POOL + 1, right_top, 0, 1, INPUTS, OF_BIAS, ACROSS, TAPS)
        _store(of_weight, program * POOL + 1, right_middle, 1, 1, INPUTS, OF_BIAS, ACROSS, TAPS)
        _store(of_weight, program * POOL + 1, right_bottom, 2, 1, INPUTS, OF_BIAS, ACROSS, TAPS)
    tl.store(of_bias + program * OF_BIAS + channel, total, mask=channel < OF_BIAS)
