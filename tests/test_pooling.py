"""The kernels that a GPU runs after a convolution, played by Triton's interpreter and compiled for a GPU that may not
be here."""

import subprocess
import sys

import pytest
import torch
from clone import ENVIRONMENT
from torch.nn.functional import max_pool2d

from cilp.models import pooling
from cilp.models.blocks import Downsample

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
SHAPES = [(3, 5, 6, 8), (2, 50, 8, 8), (1, 100, 2, 4), (2, 200, 8, 6)]


def compare(shape: tuple[int, ...], pool: int, device: str) -> None:
    """Bits of the result and of the gradient of the maps; the bias's gradient but for the order of its terms."""
    torch.manual_seed(0)
    maps = torch.randn(shape).round(decimals=1)  # pixels that are equal now and then, zeros of both signs
    maps[0, 0, 0, 0] = torch.nan
    bias = torch.randn(shape[1]).round(decimals=1)
    weight = torch.randn(*shape[:2], *(length // pool for length in shape[2:])).to(device)
    found = []
    for function in (lambda x, b: pooling.bias_pool_relu(x, b, pool), lambda x, b: plain(x, b, pool)):
        x = maps.to(device, memory_format=torch.channels_last, copy=True).requires_grad_()
        b = bias.to(device, copy=True).requires_grad_()
        result = function(x, b)
        result.backward(weight)
        found.append((result.detach(), x.grad, b.grad))
    (ours, ours_x, ours_bias), (theirs, theirs_x, theirs_bias) = found
    assert ours.is_contiguous(memory_format=torch.channels_last)
    assert ours.isnan().sum() == 1 and torch.equal(ours.nan_to_num(), theirs.nan_to_num())
    assert torch.equal(ours_x, theirs_x)
    torch.testing.assert_close(ours_bias, theirs_bias, rtol=1e-5, atol=1e-5)


def plain(x: torch.Tensor, bias: torch.Tensor, pool: int) -> torch.Tensor:
    return torch.relu(max_pool2d(x + bias.view(1, -1, 1, 1), pool))


def test_the_numbers_are_those_of_the_plain_layers():
    """And the kernels are there for one who evaluates first, without gradients: that is asked only once.

    In a process of its own: how a kernel runs is decided when Triton is imported.
    """
    pytest.importorskip("triton")
    evaluates = "with torch.inference_mode(): print(pooling.available('cpu'))"
    compares = [f"compare({shape}, {pool}, 'cpu')" for shape in SHAPES for pool in (1, 2)]
    assert interpreted(evaluates, *compares) == "True\n"


def test_without_them_one_line_says_so():
    said = interpreted("sys.modules['triton'] = None", "print(pooling.available('cpu'))")
    assert said.startswith("no kernels for pooling, PyTorch's own run: ")
    assert said.endswith("False\n") and said.count("\n") == 2


def interpreted(*lines: str) -> str:
    """What a program prints in which Triton's interpreter plays the GPU."""
    head = ("import sys; sys.path[:0] = ['src', 'tests']", "import torch", "from test_pooling import compare, pooling")
    environment = {**ENVIRONMENT, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-c", "\n".join((*head, *lines))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("name", ["forward", "backward"])
def test_the_kernels_compile_for_a_gpu(name, pool):
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from cilp.models.pooling import kernels

    kernel = getattr(kernels, name)
    _, sizes = pooling._launch(torch.empty(32, 100, 16, 16))
    pointers = {name: "*u8" if name == "code" else "*fp32" for name in kernel.arg_names[:4]}
    constants = {**{key: value for key, value in sizes.items() if key.isupper()}, "POOL": pool}
    signature = {**pointers, "pixels": "i32", "width": "i32", **dict.fromkeys(constants, "constexpr")}
    aligned = {(position,): [["tt.divisibility", 16]] for position in range(4)}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    code = triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]
    assert "global.v4" in code  # four channels at a time


@pytest.mark.parametrize("shape", [(32, 50, 32, 32), (128, 200, 4, 4), (1, 25, 2, 2), (1000, 100, 16, 16)])
def test_programs_work_on_every_pixel_once(shape):
    (programs,), sizes = pooling._launch(torch.empty(shape))
    covered = programs * sizes["PIXELS"] * sizes["TILES"]
    assert sizes["pixels"] <= covered < sizes["pixels"] + sizes["PIXELS"] * sizes["TILES"]
    assert sizes["CHANNELS"] <= sizes["ACROSS"]


def test_a_cpu_runs_the_plain_layers():
    assert not pooling.usable(torch.zeros(1, 4, 8, 8))


@CUDA
@pytest.mark.parametrize("shape", [*SHAPES, (32, 50, 64, 64), (7, 100, 32, 32)])
@pytest.mark.parametrize("pool", [1, 2])
def test_on_a_gpu_too(shape, pool):
    assert pooling.available()
    compare(shape, pool, "cuda")


@CUDA
@pytest.mark.parametrize("downsampling", ["maxpool", "strided"])
def test_a_block_on_a_gpu_agrees_with_the_cpu(downsampling):
    torch.manual_seed(0)
    block, x = Downsample(4, 50, downsampling), torch.randn(8, 4, 64, 64)
    expected = block(x)
    found = block.to("cuda")(x.to("cuda"))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-2, atol=1e-2)
