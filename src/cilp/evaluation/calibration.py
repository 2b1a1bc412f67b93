"""Whether classifiers are right as often as they are sure.

Floats are added by ``fsum``: the built-in ``sum`` rounds in another way from Python 3.12 on, and bytes would differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np

BINS = 15
"""Of equal width, from a half to certainty; as many as in Guo et al. 2017."""


@dataclass(frozen=True)
class Bin:
    """Predictions of like confidence: their mean confidence, the share that is right, and how many there are."""

    confidence: float
    accuracy: float
    count: int


def reliability(probability: Sequence[float], label: Sequence[int]) -> list[Bin]:
    """Bins of predictions by the confidence in the predicted class; those that are empty are left out.

    ``probability`` (N,) is of class 1, ``label`` (N,) the true class.
    """
    p, truth = np.asarray(probability, dtype=float), np.asarray(label)
    confidence, right = np.maximum(p, 1 - p), (p > 0.5) == (truth == 1)
    number = np.minimum(((confidence - 0.5) * 2 * BINS).astype(int), BINS - 1)
    return [
        Bin(float(confidence[members].mean()), float(right[members].mean()), int(members.sum()))
        for k in range(BINS)
        if (members := number == k).any()
    ]


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """Mean distance of confidence and accuracy over all predictions, in [0, 1] (Guo et al. 2017, equation 3)."""
    total = sum(part.count for part in bins)
    return fsum(part.count * abs(part.confidence - part.accuracy) for part in bins) / total


def overconfidence(bins: Sequence[Bin]) -> float:
    """Mean confidence minus accuracy over all predictions: above 0, the classifier is surer than it is right."""
    total = sum(part.count for part in bins)
    return fsum(part.count * (part.confidence - part.accuracy) for part in bins) / total
