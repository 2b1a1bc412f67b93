import itertools
import math

import numpy as np
import pytest

from cilp.evaluation.significance import (
    Comparison,
    Difference,
    SignificanceParams,
    accuracies,
    compare,
    difference,
    estimate,
    pairs,
)
from cilp.evaluation.table import Prediction
from cilp.report.significance import comparison_rows, significance_json, significance_markdown
from cilp.report.titles import title

PARAMS = SignificanceParams(resamples=2000, confidence=0.95, seed=0)


def predictions(model, right):
    """``right`` is (seeds, scenes, 2): whether cube and sphere of a scene are classified correctly."""
    return [
        Prediction(model, seed, "test", scene, label, float(label == bool(right[seed, scene, label])))
        for seed, scene, label in np.ndindex(*right.shape)
    ]


def test_the_unit_is_a_scene_with_both_of_its_shapes():
    right = np.ones((2, 3, 2), dtype=bool)
    right[1, 2, 0] = False
    found = accuracies([*predictions("a", right), Prediction("a", 0, "val", 9, 0, 0.0)], "test")
    assert found["a"].tolist() == [[1, 1, 1], [1, 1, 0.5]]


def test_models_that_cannot_be_paired_are_refused():
    right = np.ones((2, 3, 2), dtype=bool)
    with pytest.raises(ValueError, match="other seeds or scenes"):
        accuracies([*predictions("a", right), *predictions("b", right[:1])], "test")


def test_of_one_seed_the_interval_is_that_of_a_binomial_share():
    values = (np.random.default_rng(1).random((1, 2000)) < 0.9).astype(float)
    found = estimate(values, PARAMS)
    expected = 1.96 * math.sqrt(found.mean * (1 - found.mean) / 2000)
    assert found.mean == values.mean()
    assert found.high - found.low == pytest.approx(2 * expected, rel=0.1)
    assert found.low < found.mean < found.high


def test_of_one_scene_seeds_alone_are_resampled_and_of_one_sample_nothing():
    """``data.test: 1`` is legal; one seed on one scene is evidence of nothing."""
    seeds = estimate(np.array([[0.0], [1.0], [1.0]]), PARAMS)
    assert (seeds.low, seeds.mean, seeds.high) == (0.0, pytest.approx(2 / 3), 1.0)
    one = estimate(np.array([[0.5]]), PARAMS)
    assert (one.low, one.mean, one.high) == (0.5, 0.5, 0.5)
    assert difference(np.array([[1.0]]), 0.95) == Difference(1.0, -1.0, 1.0, 1.0)


def test_seeds_that_differ_widen_the_interval():
    rng = np.random.default_rng(1)
    alike = (rng.random((3, 1000)) < 0.9).astype(float)
    apart = (rng.random((3, 1000)) < np.array([[0.8], [0.9], [1.0]])).astype(float)
    wide, narrow = estimate(apart, PARAMS), estimate(alike, PARAMS)
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_a_difference_beyond_noise_is_told_from_one_within():
    rng = np.random.default_rng(2)
    accuracy = {
        name: (rng.random((3, 1000)) < share).astype(float) for name, share in (("a", 0.9), ("b", 0.9), ("c", 0.97))
    }
    same, better = compare(accuracy, [("a", "b"), ("a", "c")], 0.95)
    assert same.within_noise(0.95) and not better.within_noise(0.95)
    assert better.difference.low > 0.04 and same.difference.low < 0 < same.difference.high
    assert better.p_corrected == pytest.approx(2 * better.difference.p)  # the smaller of two


def test_three_seeds_that_agree_in_sign_alone_are_no_evidence():
    """The bootstrap's interval leaves zero out, as for any three of one sign."""
    values = np.repeat([[-0.1225], [-0.055], [-0.135]], 100, axis=1)
    found = difference(values, 0.95)
    assert estimate(values, PARAMS).high < 0
    assert found.low < found.mean < 0 < found.high
    assert found.p == pytest.approx(0.052, abs=0.001)  # scipy.stats.ttest_1samp of the three


@pytest.mark.parametrize(("shape", "p"), [((3, 1), 0.25), ((1, 2), 0.5), ((3, 1000), 0.25), ((8, 1000), 0.0078125)])
def test_differences_that_are_all_equal_prove_no_more_than_that_they_agree_in_sign(shape, p):
    """There is no variance to measure them by: as in a sign test of seeds, or of scenes if those are fewer."""
    assert difference(np.full(shape, -0.5), 0.95) == Difference(-0.5, -0.5, -0.5, p)
    assert difference(np.zeros(shape), 0.95).p == 1.0


@pytest.mark.parametrize("value", [0.1, 0.3, 0.0005, -1 / 3])
def test_what_rounding_leaves_of_no_variance_is_none(value):
    """Means over several networks are no binary fractions."""
    assert difference(np.full((3, 1000), value), 0.95).p == 0.25


def test_what_rounding_leaves_of_the_variance_of_scenes_is_none():
    """Seeds agree on average, and scenes differ by as much as seeds and scenes together, but for rounding."""
    values = np.full((3, 16), 0.5)
    for seed, scenes in enumerate(([5, 9, 11, 14], [3, 11, 12, 13], [2, 4, 9, 12])):
        values[seed, scenes] = 0.0
    assert difference(values, 0.95).p > 0.001


def test_one_scene_more_on_which_seeds_agree_makes_no_difference_surer_at_once():
    """Seeds agree on average; what each gains, it gains on scenes of its own, and then all on one scene too."""
    values = np.zeros((3, 100))
    for seed in range(3):
        values[seed, 10 * seed : 10 * seed + 4] = 1.0
    before = difference(values, 0.95)
    values[:, 90] = 1.0
    after = difference(values, 0.95)
    assert after.high - after.low > 0.9 * (before.high - before.low)


def test_differences_that_cancel_seed_by_seed_have_an_interval():
    """One scene more for each of three seeds, another one each: no seed differs from the others on average."""
    values = np.zeros((3, 100))
    values[[0, 1, 2], [10, 20, 30]] = 1.0
    found = difference(values, 0.95)
    assert found.mean == pytest.approx(0.01) and found.low < -0.005 and found.high > 0.025
    assert 0.1 < found.p < 0.5


def test_of_fewer_scenes_than_seeds_the_scenes_decide_how_sure_one_is():
    from scipy.stats import t

    values = np.array([[0.1, 0.3], [0.0, 0.3], [0.1, 0.2]])
    found = difference(values, 0.95)
    error = (found.high - found.mean) / t.ppf(0.975, 1)
    assert found.p == pytest.approx(2 * t.sf(found.mean / error, 1))


def test_of_seeds_alone_or_scenes_alone_it_is_the_t_test():
    from scipy.stats import ttest_1samp  # a second, which every worker that collects this would wait for

    rng = np.random.default_rng(5)
    seeds, scenes = rng.normal(0.1, 0.1, (4, 1)), rng.normal(0.1, 0.1, (1, 50))
    for values, one_way in ((np.repeat(seeds, 50, axis=1), seeds.ravel()), (scenes, scenes.ravel())):
        found, expected = difference(values, 0.9), ttest_1samp(one_way, 0.0)
        assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
        assert (found.low, found.high) == pytest.approx(expected.confidence_interval(0.9), rel=1e-9)


@pytest.mark.parametrize(
    ("of_seeds", "of_scenes", "of_both"), [(0.02, 0.0, 0.0), (0.02, 0.1, 0.2), (0.003, 0.02, 0.05)]
)
def test_among_equal_models_hardly_ever_a_difference_is_found(of_seeds, of_scenes, of_both):
    """Whatever varies, at most one family of comparisons in twenty has any; all are of seven models in two ways."""
    rng = np.random.default_rng(6)
    names = [f"{fusion}-{way}" for way in ("maxpool", "strided") for fusion in "abcdefg"]
    compared = [
        *itertools.combinations(names[:7], 2),
        *itertools.combinations(names[7:], 2),
        *zip(names[:7], names[7:], strict=True),
    ]
    wrong = 0
    for _ in range(100):
        values = rng.normal(0, of_seeds, (14, 3, 1)) + rng.normal(0, of_scenes, (14, 1, 40))
        values = values + rng.normal(0, of_both or 1e-9, (14, 3, 40))
        found = compare(dict(zip(names, values, strict=True)), compared, 0.95)
        wrong += not all(comparison.within_noise(0.95) for comparison in found)
    assert wrong <= 9  # of 100, where 5 are expected: more are drawn in 3 of 100 cases


def test_where_some_models_differ_few_of_the_differences_found_are_none():
    """The false discovery rate: four of seven models are equal, and most of what differs is found."""
    rng = np.random.default_rng(7)
    better = dict(zip("abcdefg", (0.0, 0.0, 0.0, 0.0, 0.05, 0.1, 0.2), strict=True))
    compared = list(itertools.combinations(better, 2))
    real = [better[first] != better[second] for first, second in compared]
    false, power = [], []
    for _ in range(100):
        values = {name: by + rng.normal(0, 0.02, (8, 1)) + rng.normal(0, 0.2, (8, 40)) for name, by in better.items()}
        found = np.array([not it.within_noise(0.95) for it in compare(values, compared, 0.95)])
        false.append((found & ~np.array(real)).sum() / max(1, found.sum()))
        power.append(found[real].mean())
    assert np.mean(false) < 0.05 and np.mean(power) > 0.7


def test_pairing_by_scene_finds_what_intervals_of_their_own_overlap_on():
    hard = np.random.default_rng(3).random((1, 1000)) < 0.3  # scenes that both find hard
    first = np.repeat(1.0 - hard, 3, axis=0)
    second = first.copy()
    second[:, np.flatnonzero(hard[0])[:20]] = 1.0
    found = compare({"a": first, "b": second}, [("a", "b")], 0.95)[0]
    intervals = [estimate(values, PARAMS) for values in (first, second)]
    assert intervals[0].high > intervals[1].low
    assert not found.within_noise(0.95)


def test_equal_models_do_not_differ():
    values = np.ones((3, 50))
    found = compare({"a": values, "b": values.copy()}, [("a", "b")], 0.95)[0]
    assert (found.difference.mean, found.difference.low, found.difference.high) == (0, 0, 0)
    assert found.p_corrected == 1 and found.within_noise(0.95)


def test_the_same_seed_gives_the_same_interval():
    values = (np.random.default_rng(4).random((3, 100)) < 0.9).astype(float)
    assert estimate(values, PARAMS) == estimate(values, PARAMS)


def test_what_is_compared():
    found = pairs(["late", "add", "concat"], ["maxpool", "strided"])
    assert len(found) == 3 + 3 + 3
    assert ("fusion/late-strided", "fusion/add-strided") in found
    assert ("fusion/add-maxpool", "fusion/add-strided") in found


def test_the_table_says_what_is_within_noise():
    rng = np.random.default_rng(2)
    shares = {"fusion/late-maxpool": 0.9, "fusion/add-maxpool": 0.9, "fusion/add-strided": 0.99}
    accuracy = {name: (rng.random((3, 1000)) < share).astype(float) for name, share in shares.items()}
    comparisons = compare(
        accuracy, [("fusion/late-maxpool", "fusion/add-maxpool"), ("fusion/add-maxpool", "fusion/add-strided")], 0.95
    )
    models = {name: estimate(values, PARAMS) for name, values in accuracy.items()}
    table = significance_markdown(models, comparisons, PARAMS, "simulate", 3, 1000, 1999)
    rows = [line for line in table.splitlines() if " - " in line and line.startswith("|")]
    assert "within noise" in rows[0] and "**differs**" in rows[1]
    assert "simulated data" in table and "1,999 held-out test pairs of 1,000 scenes, 3 seeds" in table
    assert "corrected for all 2 (" in table
    found = significance_json(models, comparisons, 0.95)
    assert [entry["within_noise"] for entry in found["comparisons"]] == [True, False]
    assert title("lidar") == "LiDAR classifier" and title("fusion/add-strided") == "addition, strided convolution"


@pytest.mark.parametrize(("p", "shown"), [(0.12345, "0.123"), (0.0005, "0.001"), (0.0004, "< 0.001"), (0.0, "< 0.001")])
def test_no_p_value_is_said_to_be_nothing(p, shown):
    (row,) = comparison_rows([Comparison("lidar", "rgb2lidar", Difference(0.1, 0.0, 0.2, p), p)], 0.95)[2:]
    assert f" | {shown} | " in row


@pytest.mark.parametrize("values", [{"resamples": 10}, {"confidence": 1.0}, {"seed": -1}])
def test_params_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        SignificanceParams(**{"resamples": 1000, "confidence": 0.95, "seed": 0, **values})
