"""Judges of the readers of single images, range images and angles."""

import io
import struct

import numpy as np

from cilp.raw.decode import decode_angles, decode_range, decode_rgb
from cilp.sensors import lidar_angles
from fuzz.judging import Place, check_angles, check_range
from fuzz.mutations import Rng, bomb, mutate, mutate_npy, mutate_png, npy, png, ranges


def judge_png(rng: Rng, _: Place) -> bool:
    original = png(int(rng.integers(50)))
    way = rng.random()
    if way < 0.4:
        data, strict = mutate(original, rng, (0, 60)), True
    elif way < 0.98:
        data, strict = mutate_png(original, rng), False
    elif way < 0.985:
        data, strict = bomb(), False
    else:
        data, strict = png(0, str(rng.choice(["P", "L", "LA", "RGB", "1", "I;16"]))), False
    pixels = decode_rgb(data)
    assert (pixels.shape, pixels.dtype) == ((64, 64, 4), np.uint8)
    same = np.array_equal(pixels, decode_rgb(original))
    assert same or not strict, "a damaged PNG gave other pixels"
    assert struct.unpack_from(">IIBBB", data, 16) == (64, 64, 8, 6, 0)
    return same


def judge_range(rng: Rng, _: Place) -> bool:
    original = ranges(int(rng.integers(50)))
    data = mutate(npy(original), rng, (0, 128)) if rng.random() < 0.5 else mutate_npy(original, rng)
    found = decode_range(data)
    check_range(found)
    np.testing.assert_array_equal(found, np.load(io.BytesIO(data), allow_pickle=False))
    return np.array_equal(found, original)


def judge_angles(rng: Rng, _: Place) -> bool:
    original = lidar_angles()
    data = mutate(npy(original), rng, (0, 128)) if rng.random() < 0.5 else mutate_npy(original, rng)
    found = decode_angles(data)
    check_angles(found)
    np.testing.assert_array_equal(found, np.load(io.BytesIO(data), allow_pickle=False))
    return np.array_equal(found, original)
