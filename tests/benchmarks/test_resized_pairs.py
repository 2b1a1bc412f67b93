"""Views of objects that are larger or smaller than they are."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from synthetic import make_packed

from cilp import params
from cilp.contrastive.pairs import load_training_pairs
from cilp.packing import pack_scenes
from cilp.sensors import MAX_RANGE
from cilp.simulation.processes import rendering
from cilp.simulation.scenes import SimulateParams
from cilp.training.variation import View

CPU = torch.device("cpu")
ROWS = torch.arange(12)


@pytest.fixture
def resized(monkeypatch, tmp_path):
    import resized_pairs

    return resized_pairs


@pytest.fixture(scope="module")
def pairs():
    simulation = params.section(params.load(), "data.simulate", SimulateParams)
    return load_training_pairs(pack_scenes({"train": range(12)}, partial(rendering, simulation)), None, True, CPU)


def areas(images, ranges):
    """Of each, how bright an image is all in all, and how many returns there are."""
    return images[:, :3].amax(dim=1).sum(dim=(1, 2)), (ranges < MAX_RANGE).sum(dim=(1, 2))


def middles(mask):
    right, down = (mask.float() * torch.arange(64.0).view(shape) for shape in ((1, 1, 64), (1, 64, 1)))
    return torch.stack([it.sum(dim=(1, 2)) / mask.sum(dim=(1, 2)) for it in (right, down)], dim=1)


def test_a_factor_of_one_changes_nothing(resized, pairs):
    images, ranges, one = pairs.images(ROWS), pairs.range_images(ROWS), torch.ones(12)
    torch.testing.assert_close(resized.resized_images(images, one), images, atol=1e-4, rtol=0)
    torch.testing.assert_close(resized.resized_ranges(ranges, one), ranges, atol=1e-4, rtol=0)


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.5])
def test_an_object_is_so_many_times_as_large_where_it_was(resized, pairs, factor):
    images, ranges = pairs.images(ROWS), pairs.range_images(ROWS)
    lit, hit = areas(images, ranges)
    clear = lit > 20  # of a few lit pixels, edges are the most
    factors = torch.full((12,), factor)
    larger = resized.resized_images(images, factors), resized.resized_ranges(ranges, factors)
    now_lit, now_hit = areas(*larger)
    assert clear.sum() > 4 and larger[0].shape == images.shape and (larger[0][:, 3] == 1).all()
    torch.testing.assert_close(now_hit / hit, factors**2, rtol=0.2, atol=0)
    torch.testing.assert_close((now_lit / lit)[clear], factors[clear] ** 2, rtol=0.1, atol=0)
    assert (middles(larger[1] < MAX_RANGE) - middles(ranges < MAX_RANGE)).abs().max() < 0.5
    for before, after in zip(ranges, larger[1], strict=True):
        seen, now_seen = (it[it < MAX_RANGE].numpy() for it in (before, after))
        assert np.ptp(now_seen) == pytest.approx(factor * np.ptp(seen), rel=0.35)
        assert now_seen.mean() == pytest.approx(seen.mean(), rel=0.01)


def test_training_sees_each_view_by_a_factor_of_its_own_and_validation_sees_it_as_it_is(resized):
    pairs = load_training_pairs(make_packed(), None, True, CPU)
    one, again, other = (resized.ResizedPairs.by(pairs, seed) for seed in (1, 1, 2))
    for plain, varied in zip(pairs.inputs(ROWS), one.inputs(ROWS), strict=True):
        assert torch.equal(plain, varied)
    first, same, another = (it.inputs(ROWS, View()) for it in (one, again, other))
    assert all(map(torch.equal, first, same)) and not any(map(torch.equal, first, another))
    assert not torch.equal(first[0], one.inputs(ROWS, View())[0])
    factors = one._factors(1000)
    assert 0.59 < factors.min() < 0.65 and 1.55 < factors.max() < 1.67
    assert factors.log().mean() == pytest.approx(0, abs=3 * math.log(5 / 3) / math.sqrt(3000))
