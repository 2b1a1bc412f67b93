"""The benchmark compares like with like: the reference loop's networks, inputs and losses are those of the study."""

import copy
from dataclasses import replace
from itertools import islice

import pytest
import reference_loop
import torch
from synthetic import make_packed
from torch.nn.functional import normalize

from cilp.contrastive.loss import contrastive_loss
from cilp.models import embedder, fusion
from cilp.models.layers.blocks import DOWNSAMPLINGS, count_parameters
from cilp.training.classifier import TrainingParams, train_classifier
from cilp.training.inputs import Split, load_split
from cilp.training.loop import Run, shuffled

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
    reference_loop.copy_weights(ours, theirs)
    rgb, lidar = (view.double() for view in split.inputs(slice(0, 6)))
    torch.testing.assert_close(theirs(rgb, lidar), ours(rgb, lidar), rtol=0, atol=1e-9)


class InDouble(Split):
    def inputs(self, rows):
        return tuple(view.double() for view in super().inputs(rows))


class Batches:
    """A pass over ``split`` each time, in the order of ``batches``; XYZ in 50 m, as a study's network makes it."""

    def __init__(self, split, batches, size):
        self.split, self.batches, self.steps = split, batches, len(split) // size

    def __len__(self):
        return self.steps

    def __iter__(self):
        unit = fusion.build("late", "strided", 50.0).double().xyz_unit
        for (rows,) in islice(self.batches, self.steps):
            rgb, lidar = self.split.inputs(rows)
            yield rgb, lidar * unit, self.split.label[rows]


@pytest.mark.parametrize(("name", "downsampling"), [("late", "maxpool"), ("concat", "strided")])
def test_its_training_is_ours_step_by_step(name, downsampling):
    """Optimiser, schedule, loss and the weights that are kept: fast and slow differ by rounding alone.

    Validation labels are swapped, so that the best weights are not the last ones.
    """
    packed = make_packed(train=12, val=4)
    train, valid = (load_split(packed, split, CPU) for split in ("train", "val"))
    train = InDouble(**vars(replace(train, label=train.label.double())))
    valid = InDouble(**vars(replace(valid, label=1 - valid.label.double())))
    protocol = TrainingParams(epochs=4, batch_size=8, lr=1e-3, lr_min=1e-6)

    def build():
        return fusion.build(name, downsampling, 50.0).double()

    done = train_classifier(build, train, valid, protocol, Run(3, "ours"))
    torch.manual_seed(3)
    initial, theirs, kept = build(), *(reference_loop.fusion_network(name, downsampling).double() for _ in range(2))
    reference_loop.copy_weights(initial, theirs)
    loss = reference_loop.train_epochs(
        theirs,
        Batches(train, shuffled(len(train), protocol.batch_size, 3, CPU), protocol.batch_size),
        Batches(valid, ((torch.arange(len(valid)),) for _ in range(protocol.epochs)), len(valid)),
        protocol.epochs,
    )
    assert loss == pytest.approx(done.history[-1].train_loss, abs=1e-9)
    assert done.best.epoch < protocol.epochs
    reference_loop.copy_weights(done.model, kept)
    for before, after in zip(initial.parameters(), done.model.parameters(), strict=True):
        assert not torch.equal(before, after)
    for mine, other in zip(kept.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", reference_loop.FUSIONS)
def test_its_gradients_and_ours_are_exact_but_for_rounding(served, name):
    """In float32, against float64, tensor by tensor.

    With strides, that is; where pixels tie in max-pooling, either of them may get the gradient.
    """
    split, _ = served
    torch.manual_seed(2)
    ours = fusion.build(name, "strided", 50.0).to(memory_format=torch.channels_last)
    plain, exact = (reference_loop.fusion_network(name, "strided") for _ in range(2))
    reference_loop.copy_weights(ours, plain)
    reference_loop.copy_weights(ours, exact.double())
    rgb, lidar = split.inputs(slice(0, 8))
    scaled = rgb.contiguous(), (lidar * ours.xyz_unit).contiguous()
    for model, views in ((ours, (rgb, lidar)), (plain, scaled), (exact, [view.double() for view in scaled])):
        logits = model(*views)
        torch.nn.functional.binary_cross_entropy_with_logits(logits, split.label[:8].to(logits.dtype)).backward()
    mine = copy.deepcopy(plain)  # in the order of the reference loop's parameters
    for parameter in ours.parameters():
        parameter.data = parameter.grad
    reference_loop.copy_weights(ours, mine)
    errors = [
        max(
            float((gradient.double() - parameter.grad).norm() / parameter.grad.norm())
            for gradient, parameter in zip(gradients, exact.parameters(), strict=True)
        )
        for gradients in ([parameter.data for parameter in mine.parameters()], [p.grad for p in plain.parameters()])
    ]
    assert max(errors) < 2e-5


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
