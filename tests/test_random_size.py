from functools import partial

import numpy as np
import pytest
import torch
from clone import merge

from cilp import params
from cilp.classifiers.random_size import FIRST_SCENE, PretrainingParams, sizes
from cilp.evaluation import audit
from cilp.packed import UNLABELLED
from cilp.packing import pack_scenes
from cilp.sensors import returns
from cilp.simulation.processes import rendering
from cilp.simulation.scenes import SimulateParams, draw, render
from cilp.simulation.varied import of_random_size

SETTINGS = params.load()


def test_the_scenes_are_those_that_no_other_stage_sees():
    scenes = sizes(SETTINGS).scenes()
    assert min(scenes["train"]) == FIRST_SCENE > audit.FIRST_SCENE + 100_000
    assert not set(scenes["train"]) & set(scenes["val"])


def test_packed_scenes_are_those_rendered_in_order_with_their_classes():
    chosen = of_random_size(SETTINGS)
    packed = pack_scenes(
        sizes(merge(SETTINGS, {"random_size": {"train": 3, "valid": 2}})).scenes(), partial(rendering, chosen)
    )
    assert packed.scene.tolist() == [FIRST_SCENE + i for i in (0, 0, 1, 1, 2, 2, 3, 3, 4, 4)]
    assert packed.label.tolist() == [0, 1] * 5
    assert packed.split.tolist() == [0] * 6 + [1] * 4
    for row, (_, rgb, ranges) in enumerate(render(chosen, FIRST_SCENE + 3), start=6):
        assert torch.equal(packed.rgb[row], torch.from_numpy(rgb))
        assert torch.equal(packed.range[row], torch.from_numpy(ranges))


def test_matched_twins_are_as_large_as_each_other_and_nothing_else_is_changed():
    simulation, numbers, drawn = of_random_size(SETTINGS), range(FIRST_SCENE, FIRST_SCENE + 40), []
    for number in numbers:
        one, other = (draw(simulation, number, matched_twins=matched) for matched in (True, False))
        assert one.cube.edge == other.cube.edge
        for name in ("light", "albedo"):
            assert (getattr(one, name) == getattr(other, name)).all()
        assert (one.cube.rotation == other.cube.rotation).all()
        drawn.append([one.cube.edge, one.sphere.radius, other.sphere.radius])
    edge, radius, free = np.array(drawn).T
    up = [
        (size - low) / (high - low)
        for size, (low, high) in ((edge, simulation.cube_edge), (radius, simulation.sphere_radius))
    ]
    np.testing.assert_allclose(*up)
    assert abs(np.corrcoef(edge, free)[0, 1]) < 0.5
    packed = pack_scenes({"train": numbers}, partial(rendering, simulation, matched_twins=True))
    cubes, spheres = (returns(packed.range[packed.label == label].numpy()).sum(axis=(1, 2)) for label in (0, 1))
    assert np.corrcoef(cubes, spheres)[0, 1] > 0.95


def test_matched_twins_of_one_size_are_the_scenes_of_one_size():
    fixed = params.section(SETTINGS, "data.simulate", SimulateParams)
    for (_, *one), (_, *other) in zip(render(fixed, 3, matched_twins=True), render(fixed, 3), strict=True):
        assert all(map(np.array_equal, one, other))


def test_pretraining_sees_the_scenes_that_train_and_further_ones_without_a_class():
    labelled = sizes(merge(SETTINGS, {"random_size": {"train": 3, "valid": 2}})).scenes()
    scenes = PretrainingParams(unlabelled=2, matched_twins=False).scenes(labelled)
    assert scenes == {"train": [FIRST_SCENE + i for i in (0, 1, 2, 5, 6)], "val": [FIRST_SCENE + i for i in (3, 4)]}
    packed, with_classes = (
        pack_scenes(scenes, partial(rendering, of_random_size(SETTINGS)), labelled) for labelled in (False, True)
    )
    assert packed.label.tolist() == [UNLABELLED] * 14 and with_classes.label.tolist() == [0, 1] * 7
    assert packed.split.tolist() == [0] * 10 + [1] * 4
    assert torch.equal(packed.range, with_classes.range)


@pytest.mark.parametrize("count", [-1, 10**6])
def test_how_many_scenes_are_unlabelled_has_limits(count):
    with pytest.raises(ValueError, match="unlabelled"):
        PretrainingParams(unlabelled=count, matched_twins=True)


def test_the_number_of_returns_tells_nothing_of_the_shape():
    """The best threshold on the number of returns: good on fixed sizes, hardly better than chance on random ones."""

    def best_threshold(chosen):
        packed = pack_scenes({"train": range(60)}, partial(rendering, chosen))
        counts = torch.from_numpy(returns(packed.range.numpy())).flatten(1).sum(dim=1)
        cube = packed.label == 0
        return max(((counts > limit) == cube).double().mean().item() for limit in counts)

    fixed = params.section(SETTINGS, "data.simulate", SimulateParams)
    assert best_threshold(fixed) > 0.85
    assert best_threshold(of_random_size(SETTINGS)) < 0.65
