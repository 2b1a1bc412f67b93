"""Which differences between classifiers exceed what other seeds and other scenes would have made of them."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cilp.evaluation.table import Prediction

BATCH = 250
"""Resamples at a time, of which each takes as many floats as there are seeds times scenes."""


@dataclass(frozen=True)
class SignificanceParams:
    """How intervals are found: resamples, the confidence of an interval, the seed of what is drawn."""

    resamples: int
    confidence: float
    seed: int

    def __post_init__(self) -> None:
        if not 100 <= self.resamples <= 1_000_000:
            raise ValueError(f"resamples must be a whole number from 100 to 1,000,000; got {self.resamples}.")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1; got {self.confidence}.")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more; got {self.seed}.")


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and scenes, its interval, and the two-sided p-value of its being 0."""

    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Comparison:
    """``second`` against ``first``: the difference of their accuracies, and its p-value among all that are compared."""

    first: str
    second: str
    difference: Estimate
    p_corrected: float

    def within_noise(self, confidence: float) -> bool:
        """Whether the difference may be 0, all comparisons taken into account."""
        return self.p_corrected > 1 - confidence


def accuracies(predictions: Iterable[Prediction], split: str) -> dict[str, np.ndarray]:
    """By model, which share of each scene's samples it classifies correctly: (seeds, scenes) float64, both in order.

    The scene is the unit, since its cube and its sphere share place, light and colour.

    Raises:
        ValueError: models differ in seeds or scenes, so that they cannot be paired.
    """
    found: dict[str, dict[int, dict[int, list[bool]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for prediction in predictions:
        if prediction.split == split:
            right = prediction.predicted == prediction.label
            found[prediction.model][prediction.seed][prediction.scene].append(right)
    cases = {(tuple(sorted(seeds)), tuple(sorted(scenes))) for seeds in found.values() for scenes in seeds.values()}
    if len(cases) > 1:
        raise ValueError("models have other seeds or scenes than others")
    return {
        model: np.array([[np.mean(seeds[seed][scene]) for scene in sorted(seeds[seed])] for seed in sorted(seeds)])
        for model, seeds in found.items()
    }


def estimate(values: np.ndarray, params: SignificanceParams) -> Estimate:
    """The mean of ``values`` (seeds, scenes), with the interval over both: other seeds, and other scenes.

    Seeds and scenes are resampled independently of each other, the pigeonhole bootstrap (Owen 2007,
    doi:10.1214/07-AOAS122), by percentiles. Of one seed, only scenes are. Three seeds are few: their resamples spread
    by a third less than seeds do, and intervals are somewhat narrow where seeds differ more than scenes.
    """
    from scipy.stats import bootstrap

    def mean(*indices: np.ndarray, axis: int = -1) -> np.ndarray:
        scenes = indices[-1]
        seeds = indices[0] if len(indices) > 1 else np.zeros((*scenes.shape[:-1], 1), dtype=int)
        return values[seeds[..., :, None], scenes[..., None, :]].mean(axis=(-2, -1))

    axes = [np.arange(length) for length in values.shape if length > 1]
    result = bootstrap(
        axes,
        mean,
        n_resamples=params.resamples,
        batch=BATCH,
        vectorized=True,
        confidence_level=params.confidence,
        method="percentile",
        rng=np.random.default_rng(params.seed),
    )
    drawn = result.bootstrap_distribution
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
    p = min(1.0, 2 * (tail + 1) / (len(drawn) + 1))
    return Estimate(values.mean(), *map(float, result.confidence_interval), float(p))


def pairs(fusions: Sequence[str], downsamplings: Sequence[str]) -> list[tuple[str, str]]:
    """What is compared: fusions with each other in either downsampling, and the downsamplings of each fusion."""
    compared = [
        (f"fusion/{first}-{way}", f"fusion/{second}-{way}")
        for way in downsamplings
        for first, second in itertools.combinations(fusions, 2)
    ]
    compared += [
        (f"fusion/{fusion}-{first}", f"fusion/{fusion}-{second}")
        for fusion in fusions
        for first, second in itertools.combinations(downsamplings, 2)
    ]
    return compared


def compare(
    accuracy: dict[str, np.ndarray], compared: Sequence[tuple[str, str]], params: SignificanceParams
) -> list[Comparison]:
    """The difference of each pair of models, seed by seed and scene by scene.

    P-values are corrected for their number by Benjamini and Yekutieli's procedure, which holds however comparisons
    depend on each other; here they share models.
    """
    from scipy.stats import false_discovery_control

    differences = [estimate(accuracy[second] - accuracy[first], params) for first, second in compared]
    corrected = false_discovery_control([difference.p for difference in differences], method="by") if compared else []
    return [
        Comparison(first, second, difference, float(p))
        for (first, second), difference, p in zip(compared, differences, corrected, strict=True)
    ]
