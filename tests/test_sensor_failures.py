from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from clone import ROOT
from synthetic import make_packed

from cilp.evaluation.failures import (
    FailureParams,
    beams_dropped,
    exposure,
    failed,
    failing,
    image_noise,
    range_noise,
)
from cilp.evaluation.models import sensor_dependent
from cilp.report import failures
from cilp.report.failures import draw_failures, missing_markdown
from cilp.report.style import COLOURS, MARKERS
from cilp.simulation.camera import decode_srgb, encode_srgb
from cilp.training.inputs import load_split

PARAMS = {
    "pairs": 8, "seed": 0, "beams_dropped": [0.0, 1.0], "range_noise": [0.0, 0.5], "image_noise": [0.0, 0.1],
    "exposure": [0.0, 1.0],
}  # fmt: skip


@pytest.fixture(scope="module")
def split():
    return load_split(make_packed(), "test", torch.device("cpu"))


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("failure", [beams_dropped, range_noise, image_noise])
def test_no_failure_changes_nothing(split, failure):
    same = failure(split, 0.0, generator())
    assert torch.equal(same.rgb, split.rgb) and torch.equal(same.range, split.range)
    assert torch.equal(exposure(split, 1.0, generator()).rgb, split.rgb)


def test_the_share_of_dropped_beams_is_as_asked_and_all_is_a_missing_lidar(split):
    hit = split.range < 50
    half = beams_dropped(split, 0.5, generator())
    left = half.range[hit] < 50
    assert left.double().mean() == pytest.approx(0.5, abs=0.05)
    assert torch.equal(half.range[hit][left], split.range[hit][left])
    assert (beams_dropped(split, 1.0, generator()).range == 50).all()


def test_range_noise_is_as_strong_as_asked_and_only_where_something_was_hit(split):
    hit = split.range < 50
    noisy = range_noise(split, 0.3, generator())
    assert (noisy.range[hit] - split.range[hit]).std() == pytest.approx(0.3, rel=0.05)
    assert (noisy.range[~hit] == 50).all() and (noisy.range[hit] < 50).all()


def test_a_hit_near_the_maximum_range_still_reads_as_one(split):
    far = replace(split, range=torch.full_like(split.range, 49.9))
    noisy = range_noise(far, 0.5, generator()).range
    assert noisy.dtype == torch.float32 and (noisy < 50).all()


def test_image_noise_is_as_strong_as_asked_and_leaves_alpha(split):
    grey = replace(split, rgb=torch.full_like(split.rgb, 128))
    noisy = image_noise(grey, 0.1, generator())
    assert torch.equal(noisy.rgb[..., 3], grey.rgb[..., 3])
    assert noisy.rgb[..., :3].double().std() == pytest.approx(25.5, rel=0.02)


def test_exposure_multiplies_linear_light_and_none_is_a_missing_image(split):
    assert not exposure(split, 0.0, generator()).rgb[..., :3].any()
    colour = split.rgb[..., :3].numpy() / 255
    expected = np.round(encode_srgb(np.minimum(decode_srgb(colour) * 0.5, 1)) * 255)
    assert np.abs(exposure(split, 0.5, generator()).rgb[..., :3].numpy() - expected).max() <= 1


def test_every_failure_at_every_level(split):
    found = [(name, level, len(part)) for name, level, part in failing(split, FailureParams(**PARAMS))]
    assert len(found) == 8 and all(count == 8 for *_, count in found)


def test_a_failure_of_one_sensor_leaves_the_other_as_it_was(split):
    sound = split.first(8)
    found = {(name, level): failed(part, sound) for name, level, part in failing(split, FailureParams(**PARAMS))}
    assert found == {
        ("beams_dropped", 0.0): set(), ("beams_dropped", 1.0): {"lidar"},
        ("range_noise", 0.0): set(), ("range_noise", 0.5): {"lidar"},
        ("image_noise", 0.0): set(), ("image_noise", 0.1): {"rgb"},
        ("exposure", 0.0): {"rgb"}, ("exposure", 1.0): set(),
    }  # fmt: skip


@pytest.mark.parametrize("change", [{"pairs": 1}, {"seed": -1}, {"beams_dropped": [1.5]}, {"exposure": []}])
def test_params_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        FailureParams(**{**PARAMS, **change})


def test_the_curves_are_the_same_bytes_again(tmp_path):
    rows = [
        {"model": model, "failure": failure, "level": level, "accuracy": 1 - level / 4, "accuracy_std": 0.01}
        for model in ("fusion/late-maxpool", "lidar")
        for failure in ("beams_dropped", "range_noise", "image_noise", "exposure")
        for level in (0.0, 0.5, 1.0)
    ]
    for name, drawn in (("1", rows), ("2", rows), ("3", [{**rows[0], "accuracy": 0.7}, *rows[1:]])):
        draw_failures(drawn, tmp_path / f"{name}.png")
    first, again, changed = ((tmp_path / f"{name}.png").read_bytes() for name in "123")
    assert first == again != changed


def test_of_one_seed_no_bar_and_no_mean_is_drawn(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(failures, "save", lambda figure, *_: drawn.append(figure))
    rows = [
        {"model": "lidar", "failure": failure, "level": level, "accuracy": 1 - level / 4}
        for failure in ("beams_dropped", "range_noise", "image_noise", "exposure")
        for level in (0.0, 1.0)
    ]
    draw_failures(rows, tmp_path / "one.png")
    assert drawn[0].get_suptitle() == "Accuracy, one seed"


def test_no_two_of_the_studys_curves_look_alike():
    """Modality dropout is dashed and hollow, in the colour of the network without."""
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    bases = {model.removesuffix("-dropout") for model in sensor_dependent(settings)}
    assert len(bases) <= len(set(COLOURS)) == len(set(MARKERS))


def test_what_is_left_without_a_sensor_is_told_in_a_table():
    levels = {("beams_dropped", 0.0): 0.99, ("beams_dropped", 1.0): 0.5, ("exposure", 0.0): 0.98}
    rows = [
        {"model": model, "failure": failure, "level": level, "accuracy": accuracy, "accuracy_std": 0.01}
        for model in ("fusion/late-maxpool", "fusion/late-maxpool-dropout")
        for (failure, level), accuracy in levels.items()
    ]
    table = missing_markdown(rows, 500, 3, 0.3, "simulate")
    assert "| late, max-pooling | 0.990 ± 0.010 | 0.980 ± 0.010 | 0.500 ± 0.010 |" in table
    assert "| late, max-pooling, modality dropout | 0.990" in table
    assert "30% of the training samples" in table
    one = [{key: value for key, value in row.items() if key != "accuracy_std"} for row in rows]
    assert "| late, max-pooling | 0.990 | 0.980 | 0.500 |" in missing_markdown(one, 500, 1, 0.3, "simulate")
    assert "not asked" in missing_markdown(rows[:1], 500, 3, 0.3, "simulate")
