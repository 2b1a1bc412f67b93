"""Is a figure better, worse, or is the difference what another choice of seeds might have made as well?"""

import math
import statistics
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

CONFIDENCE = 0.95
NO_WIDTH = 1e-9
"""Below which an interval is rounding."""
BETTER, WORSE, NOISE, UNCHANGED = "better", "worse", "within noise", "unchanged"
ONE_SEED = "one seed: cannot tell"
NO_SPREAD = "no spread: cannot tell"
"""All seeds differ by the same, which a share does that moves by one sample each; it is no certainty."""


@dataclass(frozen=True)
class Verdict:
    """The change of a mean over seeds, its confidence interval (None without a spread), and what to make of it."""

    change: float
    interval: tuple[float, float] | None
    word: str


def judge(base: Mapping[int, float], head: Mapping[int, float], higher_is_better: bool) -> Verdict:
    """Compare a figure of several seeds before and after.

    On the same seeds the differences are taken seed by seed (Student's t interval), since a seed gives both the same
    weights and order; on other seeds, between the means (Welch's). Better or worse is said if the interval leaves out
    zero.

    Args:
        base: seed -> value before.
        head: seed -> value after.
        higher_is_better: False for a loss.
    """
    from scipy import stats

    change = statistics.fmean(head.values()) - statistics.fmean(base.values())
    if base == head:
        return Verdict(0.0, None, UNCHANGED)
    if min(len(base), len(head)) < 2:
        return Verdict(change, None, ONE_SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no spread at all: no interval
        if base.keys() == head.keys():
            test = stats.ttest_rel([head[seed] for seed in base], list(base.values()))
        else:
            test = stats.ttest_ind(list(head.values()), list(base.values()), equal_var=False)
        low, high = map(float, test.confidence_interval(CONFIDENCE))
    if math.isnan(low) or high - low < NO_WIDTH:
        return Verdict(change, None, NO_SPREAD if abs(change) > NO_WIDTH else NOISE)
    if low <= 0 <= high:
        return Verdict(change, (low, high), NOISE)
    return Verdict(change, (low, high), BETTER if (change > 0) == higher_is_better else WORSE)
