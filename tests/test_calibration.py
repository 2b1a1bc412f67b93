from math import fsum

import numpy as np
import pytest

from cilp.evaluation.calibration import BINS, Bin, expected_calibration_error, overconfidence, reliability
from cilp.report.calibration import draw_reliability


def test_who_is_right_as_often_as_sure_is_calibrated():
    rng = np.random.default_rng(0)
    probability = rng.random(100_000)
    label = (rng.random(100_000) < probability).astype(int)
    assert expected_calibration_error(reliability(probability, label)) < 0.01


def test_the_error_is_the_gap_between_confidence_and_accuracy():
    label = [1] * 80 + [0] * 20
    assert expected_calibration_error(reliability([0.95] * 100, label)) == pytest.approx(0.15)
    turned = [1 - y for y in label]
    assert expected_calibration_error(reliability([0.05] * 100, turned)) == pytest.approx(0.15)


def test_bins_count_by_how_many_they_hold():
    bins = [Bin(0.9, 0.8, 90), Bin(0.6, 0.9, 10)]
    assert expected_calibration_error(bins) == pytest.approx(0.9 * 0.1 + 0.1 * 0.3)
    assert overconfidence(bins) == pytest.approx(0.9 * 0.1 - 0.1 * 0.3)


def test_every_prediction_lies_in_one_bin():
    probability = [0.0, 0.5, 0.50001, 1.0, 1 - 1e-12, 0.25]
    bins = reliability(probability, [0, 0, 1, 1, 1, 0])
    assert sum(part.count for part in bins) == len(probability)
    assert len(bins) <= BINS and all(0.5 <= part.confidence <= 1 for part in bins)


def test_the_diagram_shows_the_bins_the_same_bytes_again(tmp_path):
    bins = {"fusion/late-maxpool": [Bin(0.99, 0.98, 100), Bin(0.6, 0.5, 4)], "lidar": [Bin(1.0, 1.0, 50)]}
    other = {**bins, "lidar": [Bin(1.0, 0.8, 50)]}
    for name, drawn in (("a", bins), ("b", bins), ("c", other)):
        draw_reliability(drawn, {"fusion/late-maxpool": 0.01, "lidar": 0.0}, tmp_path / f"{name}.png")
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize("count", [1, 3, 4, 6, 8, 18])
def test_every_column_of_panels_has_its_confidences_below(tmp_path, monkeypatch, count):
    drawn = []
    monkeypatch.setattr("cilp.report.calibration.plt.close", drawn.append)
    bins = {f"fusion/{number}-maxpool": [Bin(0.9, 0.9, 50)] for number in range(count)}
    draw_reliability(bins, dict.fromkeys(bins, 0.0), tmp_path / "diagram.png")
    (figure,) = drawn
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert len(shown) == count
    lowest = {axis.get_subplotspec().colspan.start: axis for axis in shown}
    assert all(any(label.get_visible() for label in axis.get_xticklabels()) for axis in lowest.values())


def test_sums_are_rounded_once_whatever_pythons_own_sum_does():
    """From Python 3.12 on it adds floats in another way, so that bytes of ``metrics/`` differed."""
    parts = [Bin(0.1 + 0.8, 0.1, 1), Bin(1e-16 + 0.5, 0.5 - 1e-16, 3), Bin(0.7, 0.1 + 0.2, 7)]
    exact = fsum(part.count * (part.confidence - part.accuracy) for part in parts) / 11
    assert overconfidence(parts) == expected_calibration_error(parts) == exact
    many = [Bin(0.1, 0.0, 1)] * 10  # ten tenths: 0.9999999999999999 before Python 3.12
    assert overconfidence(many) == expected_calibration_error(many) == 0.1
