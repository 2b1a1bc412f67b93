import pytest
import torch
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

from cilp.models.layers import winograd


def operands(tiles, inputs, outputs, dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(tiles, inputs, 6, 6, generator=generator, dtype=dtype)
    weight = torch.randn(outputs, inputs, 3, 3, generator=generator, dtype=dtype) / (9 * inputs) ** 0.5
    return x.contiguous(memory_format=torch.channels_last), weight


def convolve(x, weight):
    result = winograd.convolve(x.permute(0, 2, 3, 1).flatten(1, 2), weight)
    return result.unflatten(1, (4, 4)).permute(0, 3, 1, 2)


@pytest.mark.parametrize(("tiles", "inputs", "outputs"), [(1, 1, 1), (3, 20, 7), (40, 50, 100)])
def test_it_is_the_plain_convolution_and_so_are_its_gradients(tiles, inputs, outputs):
    x, weight = (operand.requires_grad_() for operand in operands(tiles, inputs, outputs, torch.float64))
    results = []
    for result in (convolve(x, weight), conv2d(x, weight)):
        towards = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view_as(result)
        results.append((result, *torch.autograd.grad((result * towards).sum(), [x, weight])))
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-12)


def test_what_single_precision_loses():
    """Results of size 1 are off by about 1e-6."""
    x, weight = operands(40, 100, 100, torch.float32)
    exact = conv2d(x.double(), weight.double())
    assert (convolve(x, weight) - exact).std().item() < 3e-6


def test_zeros_give_zeros():
    """Nothing is rounded there: what becomes of a view's black background is exact."""
    x, weight = operands(2, 50, 20, torch.float32)
    assert not convolve(torch.zeros_like(x), weight).any()


def test_it_multiplies_less_than_half_as_often():
    """The transforms included, for 100 channels."""
    x, weight = operands(300, 100, 100, torch.float32)
    counts = []
    for operation in (convolve, conv2d):
        with FlopCounterMode(display=False) as counter:
            operation(x, weight)
        counts.append(counter.get_total_flops())
    assert counts[0] < 0.5 * counts[1]


def test_a_network_that_was_evaluated_first_can_be_trained():
    """Autograd refuses to keep what was made in inference mode, as the transforms were once."""
    winograd._transforms.cache_clear()
    x, weight = operands(3, 20, 7, torch.float32)
    with torch.inference_mode():
        before = convolve(x, weight)
    convolve(x, weight.requires_grad_()).sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(convolve(x, weight).detach(), before, rtol=0, atol=0)
