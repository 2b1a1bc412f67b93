import copy

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cilp.models import fusion, normalised_fusion
from cilp.models.complexity import multiply_adds
from cilp.models.layers.blocks import DOWNSAMPLINGS, Downsample, count_parameters

PARAMETERS = {"late": 1_415_051, "concat": 914_201, "add": 824_201, "hadamard": 824_201}
VARIANTS = [(name, downsampling) for name in PARAMETERS for downsampling in DOWNSAMPLINGS]
SEES = {"rgb": (True, False), "lidar": (False, True)}
"""Whether a network looks at the image and at the LiDAR, where not at both."""


@pytest.mark.parametrize(("name", "downsampling"), VARIANTS)
def test_parameter_counts_are_those_of_the_reference_study(name, downsampling):
    assert count_parameters(fusion.build(name, downsampling, 50.0)) == PARAMETERS[name]


def test_the_baselines_are_as_wide_as_an_encoder_of_intermediate_fusion():
    assert {name: count_parameters(fusion.build(name, "strided", 50.0)) for name in ("rgb", "lidar", "early")} == {
        "rgb": 777_251, "lidar": 777_251, "early": 779_051,
    }  # fmt: skip


def test_multiply_adds_are_those_counted_by_hand():
    """Late fusion: two chains of three convolutions and a linear layer, then the head."""
    sides = {"maxpool": (64, 32, 16), "strided": (32, 16, 8)}
    for downsampling, (first, second, third) in sides.items():
        convolutions = first**2 * 9 * 4 * 25 + second**2 * 9 * 25 * 50 + third**2 * 9 * 50 * 100
        by_hand = 2 * (convolutions + 100 * 8 * 8 * 100) + 200 * 100 + 100
        assert multiply_adds(fusion.build("late", downsampling, 50.0), views=2) == by_hand


@pytest.mark.parametrize("name", fusion.FUSIONS)
@pytest.mark.parametrize("downsampling", DOWNSAMPLINGS)
def test_multiply_adds_are_those_that_pytorch_counts(name, downsampling):
    model, views = fusion.build(name, downsampling, 50.0), [torch.empty(1, 4, 64, 64, device="meta") for _ in range(2)]
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        copy.deepcopy(model).to("meta")(*views)
    assert multiply_adds(model, views=2) == counter.get_total_flops() / 2 > 0


@pytest.mark.parametrize("name", fusion.FUSIONS)
@pytest.mark.parametrize("downsampling", DOWNSAMPLINGS)
def test_one_logit_a_sample_that_depends_on_the_sensors_that_the_network_sees(name, downsampling):
    torch.manual_seed(0)
    model = fusion.build(name, downsampling, 50.0)
    rgb, lidar = torch.rand(3, 4, 64, 64), torch.rand(3, 4, 64, 64)
    logits = model(rgb, lidar)
    assert logits.shape == (3,)
    image, ranges = SEES.get(name, (True, True))
    assert torch.equal(model(torch.rand_like(rgb), lidar), logits) != image
    assert torch.equal(model(rgb, torch.rand_like(lidar)), logits) != ranges


def test_fusion_heads_do_what_their_names_say():
    a, b = torch.rand(2, 100, 16, 16), torch.rand(2, 100, 16, 16)
    assert torch.equal(fusion.build("concat", "maxpool", 50.0).fuse(a, b), torch.cat([a, b], dim=1))
    assert torch.equal(fusion.build("add", "maxpool", 50.0).fuse(a, b), a + b)
    assert torch.equal(fusion.build("hadamard", "maxpool", 50.0).fuse(a, b), a * b)


def test_pooling_before_relu_gives_the_bits_of_pooling_after_it():
    torch.manual_seed(0)
    block = Downsample(4, 8, "maxpool").double()
    x = torch.randn(5, 4, 16, 16, dtype=torch.float64, requires_grad=True)
    y = torch.randn(5, 8, 8, 8, dtype=torch.float64)
    after = torch.nn.functional.max_pool2d(torch.relu(block.convolution(x)), 2)
    (expected,) = torch.autograd.grad((after * y).sum(), x)
    before = block(x)
    (gradient,) = torch.autograd.grad((before * y).sum(), x)
    assert torch.equal(before, after)
    assert torch.equal(gradient, expected)


def test_unknown_variants_are_refused_with_the_legal_ones():
    with pytest.raises(ValueError, match="add, concat, early, hadamard, late, lidar, rgb"):
        fusion.build("middle", "maxpool", 50.0)
    with pytest.raises(ValueError, match="maxpool, strided"):
        fusion.build("late", "average", 50.0)


def test_xyz_scale_is_the_unit_of_the_coordinates_alone():
    """A network in units of 50 m sees of a range image what one in metres sees of the same divided by 50."""
    torch.manual_seed(0)
    scaled = fusion.build("late", "strided", 50.0)
    plain = fusion.build("late", "strided", 1.0)
    plain.load_state_dict(scaled.state_dict())
    rgb, lidar = torch.rand(2, 4, 64, 64), 50 * torch.rand(2, 4, 64, 64)
    divided = torch.cat([lidar[:, :3] / 50, lidar[:, 3:]], dim=1)
    torch.testing.assert_close(scaled(rgb, lidar), plain(rgb, divided))


@pytest.mark.parametrize("name", fusion.FUSIONS)
def test_normalised_inputs_add_no_parameter_and_the_background_stays_empty(name):
    """Away from objects every view looks the same, which convolutions near objects alone save by."""
    model = normalised_fusion.build(name, "strided", [0.0, 25.0, 0.0], 5.0)
    assert count_parameters(model) == count_parameters(fusion.build(name, "strided", 50.0))
    seen = []
    model.fusion.forward = lambda rgb, lidar: seen.append((rgb, lidar))
    rgb, lidar = torch.zeros(2, 4, 64, 64), torch.zeros(2, 4, 64, 64)
    rgb[:, 3] = 1.0
    rgb[:, :3, 30:40, 30:40] = torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1, 1)
    lidar[:, :3] = 50.0
    lidar[:, :, 30:40, 30:40] = torch.tensor([5.0, 30.0, 0.0, 1.0]).view(1, 4, 1, 1)
    model(rgb, lidar)
    image, points = seen[0]
    assert torch.equal(image[:, :, 0, 0], torch.tensor([[0.0, 0.0, 0.0, 1.0]] * 2))
    assert torch.equal(points[:, :, 0, 0], torch.zeros(2, 4))
    assert torch.allclose(points[:, :, 35, 35], torch.tensor([[1.0, 1.0, 0.0, 1.0]] * 2))
    assert torch.allclose(image[:, :, 35, 35], torch.ones(2, 4))
