from functools import partial

import torch
from clone import merge

from cilp import params
from cilp.classifiers.random_size import FIRST_SCENE, sizes
from cilp.evaluation import audit
from cilp.packing import pack_scenes
from cilp.sensors import returns
from cilp.simulation.processes import rendering
from cilp.simulation.scenes import SimulateParams, render
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
