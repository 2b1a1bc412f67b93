import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cilp.models import windows
from cilp.models.blocks import encoder


def gradients(output, x, blocks):
    weight = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).sin().view_as(output)
    return torch.autograd.grad((output * weight).sum(), [x, *blocks.parameters()])


@pytest.fixture(scope="module")
def blocks():
    torch.manual_seed(0)
    return encoder([4, 5, 6, 7, 8], "maxpool").double()


boxes = st.tuples(*[st.integers(0, 63)] * 2, *[st.integers(1, 40)] * 2)


@given(boxes=st.lists(boxes, min_size=1, max_size=4), empty=st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_result_and_its_gradients_are_those_of_the_plain_layers(blocks, boxes, empty):
    """Objects of any size, anywhere, at the border as well, and views that show nothing."""
    generator = torch.Generator().manual_seed(1)
    x = torch.zeros(len(boxes) + empty, 4, 64, 64, dtype=torch.float64)
    for view, (row, column, height, width) in zip(x, boxes, strict=False):
        area = view[:, row : row + height, column : column + width]
        area.copy_(torch.randn(area.shape, generator=generator, dtype=torch.float64))
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    fast, plain = windows.encode(blocks, x), blocks(x)
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-12)
    seen = x.detach().ne(0).any(dim=1, keepdim=True)
    for ours, theirs in zip(gradients(fast, x, blocks), gradients(plain, x, blocks), strict=True):
        if ours.shape == x.shape:  # what lies outside of every window is a constant, no input
            ours, theirs = ours * seen, theirs * seen
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


def test_small_objects_cost_fewer_multiplications(blocks):
    from torch.utils.flop_counter import FlopCounterMode

    x = torch.zeros(16, 4, 64, 64, dtype=torch.float64)
    x[:, :, 24:34, 30:40] = 1.0
    counts = []
    for encode in (windows.encode, lambda blocks, x: blocks(x)):
        with FlopCounterMode(display=False) as counter:
            encode(blocks, x)
        counts.append(counter.get_total_flops())
    assert counts[0] < 0.4 * counts[1]


@pytest.mark.parametrize("name", ["strided", "full"])
def test_where_windows_do_not_pay_the_plain_layers_run(name):
    blocks = encoder([4, 5, 6], "strided" if name == "strided" else "maxpool")
    x = torch.randn(2, 4, 64, 64)
    torch.testing.assert_close(windows.encode(blocks, x), blocks(x))
