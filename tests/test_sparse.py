import contextlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import make_packed
from torch.utils.flop_counter import FlopCounterMode

from cilp.models import fusion
from cilp.models.complexity import multiply_adds
from cilp.models.layers import background as backgrounds
from cilp.models.layers import sparse
from cilp.models.layers.blocks import encoder
from cilp.training.inputs import load_split


def gradients(output, x, blocks):
    weight = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).sin().view_as(output)
    return torch.autograd.grad((output * weight).sum(), [x, *blocks.parameters()])


@pytest.fixture(scope="module", params=["maxpool", "strided"])
def blocks(request):
    torch.manual_seed(0)
    return encoder([4, 5, sparse.FEW, 17, 18], request.param).double()  # few channels and many


@pytest.fixture(scope="module", params=["zero", "varied"])
def background(request):
    generator = torch.Generator().manual_seed(2)
    empty = torch.randn(4, 64, 64, generator=generator, dtype=torch.float64)
    return torch.zeros_like(empty) if request.param == "zero" else empty


boxes = st.tuples(*[st.integers(0, 63)] * 2, *[st.integers(1, 40)] * 2)


@given(boxes=st.lists(boxes, min_size=1, max_size=6), empty=st.booleans())
@settings(max_examples=40)
def test_the_result_and_its_gradients_are_those_of_the_plain_layers(blocks, background, boxes, empty):
    """Objects of any size, anywhere, at the border as well, and views that show nothing."""
    generator = torch.Generator().manual_seed(1)
    x = background.repeat(len(boxes) + empty, 1, 1, 1)
    for view, (row, column, height, width) in zip(x, boxes, strict=False):
        area = view[:, row : row + height, column : column + width]
        area.copy_(torch.randn(area.shape, generator=generator, dtype=torch.float64))
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    fast, plain = sparse.encode(blocks, x, lambda: background), blocks(x)
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-12)
    seen = x.detach().ne(background).any(dim=1, keepdim=True)
    for ours, theirs in zip(gradients(fast, x, blocks), gradients(plain, x, blocks), strict=True):
        if ours.shape == x.shape:  # what lies outside of every window is a constant, no input
            ours, theirs = ours * seen, theirs * seen
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


def test_small_objects_cost_fewer_multiplications(blocks, background):
    x = background.repeat(16, 1, 1, 1)
    x[:, :, 24:34, 30:40] = 1.0
    counts = []
    for encode in (lambda x: sparse.encode(blocks, x, lambda: background), blocks):
        with FlopCounterMode(display=False) as counter:
            encode(x)
        counts.append(counter.get_total_flops())
    assert counts[0] < 0.3 * counts[1]


@pytest.mark.parametrize("downsampling", ["strided", "maxpool"])
def test_views_that_have_nothing_in_common(background, downsampling):
    blocks = encoder([4, 20, 20], downsampling).double()
    x = torch.randn(2, 4, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(sparse.encode(blocks, x, lambda: background), blocks(x))


def test_maps_that_cannot_be_cut_into_tiles_are_convolved_as_they_are():
    blocks = encoder([4, 5, 6], "maxpool").double()
    x = torch.randn(2, 4, 36, 64, dtype=torch.float64)
    assert not sparse.usable(x, 2) and sparse.usable(x[:, :, :32], 2)
    assert torch.equal(sparse.encode(blocks, x, lambda: x[0]), blocks(x))


@pytest.mark.parametrize("downsampling", ["strided", "maxpool"])
@pytest.mark.parametrize("name", fusion.FUSIONS)
def test_a_fusion_and_its_gradients_are_those_of_the_plain_layers(name, downsampling):
    """Feature maps that are fused before a convolution are fused near objects alone as well."""
    torch.manual_seed(0)
    model = fusion.build(name, downsampling, 50.0).double()
    split = load_split(make_packed(train=3), "train", torch.device("cpu"))
    views = [view.double() for view in split.inputs(slice(0, 6))]
    results = []
    for layers in (contextlib.nullcontext(), sparse.off()):
        with layers:
            logits = model(*views)
        gradients = torch.autograd.grad(logits.square().sum(), list(model.parameters()), materialize_grads=True)
        results.append((logits, *gradients))
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-9, atol=1e-12)


def test_a_fusion_near_objects_alone_costs_fewer_multiplications():
    model = fusion.build("concat", "maxpool", 50.0)
    split = load_split(make_packed(train=8), "train", torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        model(*split.inputs(slice(0, 16)))
    assert counter.get_total_flops() / 16 < 0.4 * 2 * multiply_adds(model, views=2)


def test_what_a_batch_shows_where_nothing_is_hit():
    """Whatever the LiDAR's angles, an empty view is what its rays show at maximum range; an image is opaque black."""
    split = load_split(make_packed(train=8), "train", torch.device("cpu"))
    rgb, lidar = split.inputs(slice(0, 8))
    empty = backgrounds.emptiness(lidar)
    missed = (lidar[:, 3] == 0).any(dim=0)
    assert missed.any()
    assert torch.equal(empty[:3, missed], 50 * split.directions[0].permute(2, 0, 1)[:, missed])
    assert not empty[3, missed].any()
    assert backgrounds.darkness(rgb)[:, 5, 7].tolist() == [0, 0, 0, 1]


def test_a_ray_that_meets_something_in_every_view_is_seen_in_all_but_equal_ones():
    lidar = torch.rand(3, 4, 64, 64)
    lidar[:, 3] = 1
    assert torch.equal(backgrounds.emptiness(lidar), lidar[0])


def test_an_object_in_some_of_the_views_leaves_the_empty_view_empty():
    ground = torch.rand(3, 16, 16)
    lidar = torch.cat([ground, torch.zeros(1, 16, 16)]).repeat(5, 1, 1, 1)
    for view in range(4):  # one ray meets something in all views but the last, others in one
        lidar[view, :, 7, 7] = 1
        lidar[view, :, view] = 1
    assert torch.equal(backgrounds.emptiness(lidar), lidar[4])


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_what_differs_in_either_memory_layout(layout):
    """Four float32 channels that lie one after the other are compared in another way than the rest."""
    empty = torch.rand(4, 64, 64)
    x = empty.repeat(6, 1, 1, 1).to(memory_format=layout)
    for view in range(1, 6):
        x[view, view % 4, 10 * view, 3 * view + 1] += 1
    differs = sparse._differ(x.permute(0, 2, 3, 1), empty.permute(1, 2, 0))
    assert torch.equal(differs, x.ne(empty).any(dim=1))
    assert differs.sum(dim=(1, 2)).tolist() == [0, 1, 1, 1, 1, 1]
