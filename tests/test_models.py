import pytest
import torch

from cilp.models import fusion
from cilp.models.blocks import DOWNSAMPLINGS, Downsample, count_parameters

PARAMETERS = {"late": 1_415_051, "concat": 914_201, "add": 824_201, "hadamard": 824_201}
VARIANTS = [(name, downsampling) for name in PARAMETERS for downsampling in DOWNSAMPLINGS]


@pytest.mark.parametrize(("name", "downsampling"), VARIANTS)
def test_parameter_counts_are_those_of_the_reference_study(name, downsampling):
    assert count_parameters(fusion.build(name, downsampling)) == PARAMETERS[name]


@pytest.mark.parametrize(("name", "downsampling"), VARIANTS)
def test_one_logit_a_sample_that_depends_on_both_modalities(name, downsampling):
    torch.manual_seed(0)
    model = fusion.build(name, downsampling)
    rgb, lidar = torch.rand(3, 4, 64, 64), torch.rand(3, 4, 64, 64)
    logits = model(rgb, lidar)
    assert logits.shape == (3,)
    assert not torch.equal(model(torch.rand_like(rgb), lidar), logits)
    assert not torch.equal(model(rgb, torch.rand_like(lidar)), logits)


def test_fusion_heads_do_what_their_names_say():
    a, b = torch.rand(2, 100, 16, 16), torch.rand(2, 100, 16, 16)
    assert torch.equal(fusion.build("concat", "maxpool").fuse(a, b), torch.cat([a, b], dim=1))
    assert torch.equal(fusion.build("add", "maxpool").fuse(a, b), a + b)
    assert torch.equal(fusion.build("hadamard", "maxpool").fuse(a, b), a * b)


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
        fusion.build("early", "maxpool")
    with pytest.raises(ValueError, match="maxpool, strided"):
        fusion.build("late", "average")
