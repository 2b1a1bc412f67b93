"""Which differences between classifiers exceed what other seeds and other scenes would have made of them."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cilp.evaluation.table import Prediction

BATCH = 250
"""Resamples at a time, of which each takes as many floats as there are seeds times scenes."""
ROUNDING = 1e-12
"""Of the largest square of a difference: a variance below is what rounding leaves of none."""


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
    """A mean over seeds and scenes, and its interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Estimate):
    """A mean difference, its interval, and the two-sided p-value of its being 0."""

    p: float


@dataclass(frozen=True)
class Comparison:
    """``second`` against ``first``: the difference of their accuracies, and its p-value among all that are compared."""

    first: str
    second: str
    difference: Difference
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
    doi:10.1214/07-AOAS122), by percentiles, which stay between 0 and 1 as accuracies do. Of one seed, only scenes are,
    and of one scene only seeds.
    Of three, no resample lies beyond the lowest or the highest: where seeds differ more than scenes the interval is too
    narrow, and differences are judged by ``difference`` instead.
    """
    from scipy.stats import bootstrap

    resampled = [axis for axis, length in enumerate(values.shape) if length > 1]
    if not resampled:
        return Estimate(*[float(values.mean())] * 3)

    def mean(*indices: np.ndarray, axis: int = -1) -> np.ndarray:
        first = np.zeros((*indices[0].shape[:-1], 1), dtype=int)
        seeds, scenes = (dict(zip(resampled, indices, strict=True)).get(axis, first) for axis in (0, 1))
        return values[seeds[..., :, None], scenes[..., None, :]].mean(axis=(-2, -1))

    result = bootstrap(
        [np.arange(values.shape[axis]) for axis in resampled],
        mean,
        n_resamples=params.resamples,
        batch=BATCH,
        vectorized=True,
        confidence_level=params.confidence,
        method="percentile",
        rng=np.random.default_rng(params.seed),
    )
    return Estimate(float(values.mean()), *map(float, result.confidence_interval))


def difference(values: np.ndarray, confidence: float) -> Difference:
    """The mean of differences ``values`` (seeds, scenes), with Student's t interval and p-value of its being 0.

    Seeds and scenes are crossed random effects, as readers and cases are in studies of several readers (Dorfman,
    Berbaum and Metz 1992, doi:10.1097/00004424-199209000-00015): the variance of the mean is (MS of seeds + MS of
    scenes - MS of what is left) / (seeds * scenes). Degrees of freedom are those of the seeds, or of fewer scenes,
    the fewest that it can have: estimated ones (Satterthwaite) found differences among equal models too
    often, and so does the bootstrap above, for which three seeds that agree in sign are enough
    (``tests/test_significance.py``). Of one seed, only scenes are random; one seed on one scene shows nothing. Where
    all differences are equal there is no variance; the p-value is then that of a sign test.
    """
    from scipy.stats import t

    seeds, scenes = values.shape
    mean = float(values.mean())
    if values.size == 1:
        return Difference(mean, -1.0, 1.0, 1.0)
    nothing = ROUNDING * float(np.square(values).max())
    by_seed, by_scene = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    of_scenes = seeds * np.square(by_scene - mean).sum() / max(scenes - 1, 1)
    variance = of_scenes
    freedom = min(count for count in (seeds, scenes) if count > 1) - 1
    if seeds > 1:
        rest = np.square(values - by_seed - by_scene + mean).sum() / ((seeds - 1) * max(scenes - 1, 1))
        of_seeds = scenes * np.square(by_seed - mean).sum() / (seeds - 1)
        variance = of_seeds + max(of_scenes - rest, 0.0)
        if of_seeds <= nothing:  # seeds agree on average, though not scene by scene
            variance = max(variance, rest)
    error = float(np.sqrt(variance / values.size))
    if variance <= nothing:  # the same difference in every scene and seed: no more certain than that they agree in sign
        return Difference(mean, mean, mean, 0.5**freedom if mean else 1.0)
    half = float(t.ppf((1 + confidence) / 2, freedom)) * error
    return Difference(mean, mean - half, mean + half, float(2 * t.sf(abs(mean) / error, freedom)))


def pairs(fusions: Sequence[str], downsamplings: Sequence[str], others: Sequence[str] = ()) -> list[tuple[str, str]]:
    """What is compared: fusions with each other in either downsampling, the downsamplings of each fusion, and the
    ``others`` with each other."""
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
    return [*compared, *itertools.combinations(others, 2)]


def compare(
    accuracy: dict[str, np.ndarray], compared: Sequence[tuple[str, str]], confidence: float
) -> list[Comparison]:
    """The difference of each pair of models, seed by seed and scene by scene.

    P-values are corrected for their number by Benjamini and Hochberg's procedure. The comparisons share models, for
    which it is not proven; in comparisons of pairs it was found to hold in simulations (Williams, Jones and Tukey 1999,
    doi:10.3102/10769986024001042), as it is here (``tests/test_significance.py``).
    """
    from scipy.stats import false_discovery_control

    differences = [difference(accuracy[second] - accuracy[first], confidence) for first, second in compared]
    corrected = false_discovery_control([found.p for found in differences], method="bh") if compared else []
    return [
        Comparison(first, second, found, float(p))
        for (first, second), found, p in zip(compared, differences, corrected, strict=True)
    ]
