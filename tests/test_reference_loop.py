"""The benchmark compares like with like: the reference loop's networks, inputs and losses are those of the study."""

import sys
from pathlib import Path

import pytest
import torch
from synthetic import make_packed
from torch.nn.functional import normalize

from cilp.contrastive.loss import contrastive_loss
from cilp.models import embedder, fusion
from cilp.models.blocks import DOWNSAMPLINGS, count_parameters
from cilp.training.inputs import load_split

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import reference_loop

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def served():
    packed = make_packed()
    split = load_split(packed, "train", CPU)
    angles = packed.azimuth[0], packed.zenith[0]
    return split, reference_loop.Samples(split.rgb, split.range, *angles, split.label, "cpu")


@pytest.mark.parametrize("downsampling", DOWNSAMPLINGS)
@pytest.mark.parametrize("name", reference_loop.FUSIONS)
def test_its_networks_are_ours_to_the_last_bit_of_their_weights(served, name, downsampling):
    split, _ = served
    torch.manual_seed(1)
    ours = fusion.build(name, downsampling, 1.0).double()
    theirs = reference_loop.fusion_network(name, downsampling).double()
    assert count_parameters(ours) == count_parameters(theirs)
    # both list their parameters modality by modality; ours keeps the linear layers of late fusion beside the encoders
    order = ["rgb.", "rgb_vector.", "lidar.", "lidar_vector.", "fused.", "head."]
    mine = sorted(
        ours.named_parameters(), key=lambda item: next(i for i, p in enumerate(order) if item[0].startswith(p))
    )
    for (_, source), target in zip(mine, theirs.parameters(), strict=True):
        target.data.copy_(source)
    rgb, lidar = (view.double() for view in split.inputs(slice(0, 6)))
    torch.testing.assert_close(theirs(rgb, lidar), ours(rgb, lidar), rtol=0, atol=1e-9)


def test_its_samples_are_ours(served):
    split, samples = served
    rgb, lidar = split.inputs(slice(0, 4))
    for row in range(4):
        image, points, label = samples[row]
        assert torch.equal(image, rgb[row])
        torch.testing.assert_close(points, lidar[row], rtol=0, atol=1e-5)
        assert label == split.label[row]


def test_its_embedder_is_as_large_as_ours():
    arguments = {"rgb": "plain", "xyz_centre": [0.0, 0.0, 0.0], "xyz_scale": 1.0, "zero_background": False}
    ours = embedder.build("rgb", initialisation="torch", **arguments)
    assert count_parameters(reference_loop.Embedder()) == count_parameters(ours) == 927_650


def test_its_contrastive_loss_is_ours_at_temperature_one():
    torch.manual_seed(1)
    rgb, lidar = (normalize(torch.randn(16, 200, dtype=torch.float64), dim=1).requires_grad_() for _ in range(2))
    results = []
    for loss in (reference_loop.contrastive_loss(rgb, lidar), contrastive_loss(rgb, lidar, torch.zeros(()))):
        results.append([loss, *torch.autograd.grad(loss, [rgb, lidar])])
    # the reference divides by the norms once more, so its gradient is what is tangent to the sphere of ours
    for ours, theirs, at in zip(results[1][1:], results[0][1:], (rgb, lidar), strict=True):
        tangent = ours - (ours * at).sum(dim=1, keepdim=True) * at
        torch.testing.assert_close(tangent, theirs, rtol=0, atol=1e-9)
    torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=1e-9)


def test_it_learns(served):
    _, samples = served
    torch.manual_seed(1)
    model = reference_loop.fusion_network("late", "strided")
    losses = [reference_loop.train_epochs(model, *reference_loop.loaders(samples, samples), epochs=3) for _ in range(3)]
    assert losses[-1] < losses[0]
