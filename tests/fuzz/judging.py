"""What a judge of a reader is: it makes one mutated input, reads it, and says what became of it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cilp.sensors import MAX_RANGE
from fuzz.mutations import Rng


class Refused(Exception):
    """Listed with a reason instead of being used."""


@dataclass(frozen=True)
class Place:
    """Folders that an input may use: ``inputs`` is made by it, ``target`` is where the reader may write."""

    inputs: Path
    target: Path


Judge = Callable[[Rng, Place], bool]
"""Reads one mutated input. True: what it gave equals the original; False: other data, all of it valid.

Raises ``UserError``, ``Unusable`` or ``Refused`` for what was refused, and ``AssertionError`` for what was not valid.
"""


def check_range(found: np.ndarray) -> None:
    assert (found.shape, found.dtype) == ((64, 64), np.float32)
    assert np.isfinite(found).all() and found.min() > 0 and found.max() <= MAX_RANGE + 1e-3


def check_angles(found: np.ndarray) -> None:
    assert (found.shape, found.dtype) == ((64,), np.float32)
    assert np.isfinite(found).all() and np.abs(found).max() <= np.float32(math.pi)
