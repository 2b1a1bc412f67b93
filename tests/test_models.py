import pytest
import torch

from cilp.models import fusion
from cilp.models.blocks import DOWNSAMPLINGS, Downsample, count_parameters

PARAMETERS = {"late": 1_415_051, "concat": 914_201, "add": 824_201, "hadamard": 824_201}
VARIANTS = [(name, downsampling) for name in PARAMETERS for downsampling in DOWNSAMPLINGS]


@pytest.mark.parametrize(("name", "downsampling"), VARIANTS)
def test_parameter_counts_are_those_of_the_reference_study(name, downsampling):
    assert count_parameters(fusion.build(name, downsampling, 50.0)) == PARAMETERS[name]


@pytest.mark.parametrize(("name", "downsampling"), VARIANTS)
def test_one_logit_a_sample_that_depends_on_both_modalities(name, downsampling):
    torch.manual_seed(0)
    model = fusion.build(name, downsampling, 50.0)
    rgb, lidar = torch.rand(3, 4, 64, 64), torch.rand(3, 4, 64, 64)
    logits = model(rgb, lidar)
    assert logits.shape == (3,)
    assert not torch.equal(model(torch.rand_like(rgb), lidar), logits)
    assert not torch.equal(model(rgb, torch.rand_like(lidar)), logits)


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
    with pytest.raises(ValueError, match="late, concat, add, hadamard"):
        fusion.build("early", "maxpool", 50.0)
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
