"""The kernels that a GPU runs in a block of an encoder, played by Triton's interpreter and compiled for a GPU that may
not be here."""

import subprocess
import sys

import pytest
import torch
from clone import ENVIRONMENT
from torch.nn.functional import conv2d, max_pool2d

from cilp.models.layers import gpu
from cilp.models.layers.blocks import Downsample, encoder
from cilp.models.layers.gpu import first_block, pooling, precision

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
SHAPES = [(3, 5, 6, 8), (2, 50, 8, 8), (1, 100, 2, 4), (2, 200, 8, 6)]
NARROW = 2.0**-7
"""Two neighbours among bfloat16 differ by less, relative to one of them; the interpreter does not round but cut off."""


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


def compare_low(pool: int, device: str) -> None:
    """Maps in bfloat16 of which 5 channels of 8 have a bias: into as many in bfloat16, and into the 5 in float32."""
    torch.manual_seed(0)
    maps = torch.randn(3, 8, 6, 8, device=device).bfloat16().to(memory_format=torch.channels_last)
    maps[:, 5:] = 0
    bias = torch.randn(5, device=device)
    for channels, dtype in ((8, torch.bfloat16), (5, torch.float32)):
        x, b = maps.clone().requires_grad_(), bias.clone().requires_grad_()
        result = pooling.bias_pool_relu(x, b, pool, channels, dtype)
        assert result.dtype == dtype and x.requires_grad and not result[:, 5:].any()
        weight = torch.randn_like(result)
        result.backward(weight)
        wide, c = maps.float().requires_grad_(), bias.clone().requires_grad_()
        expected = plain(wide[:, :5], c, pool)
        expected.backward(weight[:, :5].float())
        torch.testing.assert_close(result[:, :5].float(), expected, rtol=NARROW, atol=0)
        assert x.grad.dtype == torch.bfloat16 and not x.grad[:, 5:].any()
        torch.testing.assert_close(x.grad.float(), wide.grad, rtol=NARROW, atol=0)
        torch.testing.assert_close(b.grad, c.grad, rtol=1e-5, atol=1e-5)


def compare_first(shape: tuple[int, ...], outputs: int, pool: int, dtype: torch.dtype, device: str) -> None:
    """A first block with 3 further channels against plain layers in float64."""
    torch.manual_seed(0)
    x = torch.randn(shape, device=device).to(memory_format=torch.channels_last)
    x[0], x[:, :, : shape[2] // 2, :] = 0, 0  # whole tiles, and parts of others
    x[0, 0, 0, 0] = 1
    weight = torch.randn(outputs, shape[1], 3, 3, device=device).to(memory_format=torch.channels_last).requires_grad_()
    bias = torch.randn(outputs, device=device, requires_grad=True)
    assert first_block.takes(x)
    result = first_block.convolve_pool(x, weight, bias, pool, outputs + 3, dtype)
    assert result.dtype == dtype and result.is_contiguous(memory_format=torch.channels_last)
    assert not result[:, outputs:].any()
    towards = torch.randn_like(result)
    result.backward(towards)
    w, b = weight.detach().double().requires_grad_(), bias.detach().double().requires_grad_()
    expected = torch.relu(max_pool2d(conv2d(x.double(), w, b, 3 - pool, 1), pool))
    expected.backward(towards[:, :outputs].double())
    exact = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": NARROW, "atol": 1e-5}
    torch.testing.assert_close(result[:, :outputs].double(), expected, **exact)
    assert weight.grad.stride() == weight.stride()  # or else each step copies it
    of_products = 1e-5 if device == "cpu" else 1e-3  # TF32
    for ours, theirs in ((weight.grad, w.grad), (bias.grad, b.grad)):
        assert (ours - theirs).abs().max() <= of_products * theirs.abs().max()


PLAYED = """
import sys
sys.path[:0] = ["src", "tests"]
import torch
from test_gpu_kernels import compare, compare_first, compare_low, gpu, SHAPES

sys.modules["triton"] = None
print(gpu.available.__wrapped__("cpu"))
del sys.modules["triton"]
with torch.inference_mode():
    print(gpu.available("cpu"))
for pool in (1, 2):
    for shape in SHAPES:
        compare(shape, pool, "cpu")
    compare_low(pool, "cpu")
    compare_first((3, 4, 6, 8), 5, pool, torch.float32, "cpu")
    compare_first((2, 4, 10, 4), 13, pool, torch.bfloat16, "cpu")
    compare_first((1, 8, 8, 6), 29, pool, torch.float32, "cpu")
"""


def test_the_numbers_are_those_of_the_plain_layers():
    """Without Triton one line says so; with it the kernels are there for one who evaluates first, without gradients.

    In a process of its own, in which Triton's interpreter plays the GPU: that is decided when Triton is imported.
    """
    pytest.importorskip("triton")
    environment = {**ENVIRONMENT, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-c", PLAYED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    without, lacking, there = done.stdout.splitlines()
    assert without.startswith("no kernels of our own on this GPU, PyTorch's run: ")
    assert (lacking, there) == ("False", "True")


def test_a_gpu_whose_memory_others_take_up_is_not_one_without_kernels(monkeypatch):
    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(gpu, "downsample", fail)
    with pytest.raises(torch.OutOfMemoryError):
        gpu.available.__wrapped__("cpu")


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("name", ["pool_forward", "pool_backward"])
def test_the_kernels_compile_for_a_gpu(name, pool):
    pytest.importorskip("triton")
    from cilp.models.layers.gpu import pooling_kernels

    _, sizes = pooling._launch((32, 100, 16, 16), 104, 100)
    code = compiled(getattr(pooling_kernels, name), {**sizes, "POOL": pool})
    assert "global.v4" in code  # four channels at a time


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("name", ["first_forward", "first_backward"])
def test_those_of_a_first_block_compile_as_well(name, pool):
    pytest.importorskip("triton")
    from cilp.models.layers.gpu import first_block_kernels

    sizes = first_block._sizes((32, 56, 32, 32), 4, 50, pool)
    of_kernel = {**first_block.BACKWARD, "TILES": 2} if name == "first_backward" else first_block.FORWARD
    code = compiled(getattr(first_block_kernels, name), {**sizes, **of_kernel})
    assert "mma" in code and "tf32" in code  # on tensor cores


def compiled(kernel, arguments: dict[str, int | str]) -> str:
    """Assembly of a kernel for an NVIDIA H100 or H200; what ends in maps is bfloat16."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    constants = {name: value for name, value in arguments.items() if name.isupper()}
    numbers = {name: "i32" for name in arguments if name in kernel.arg_names and name not in constants}
    types = {"code": "*u8", "result": "*bf16", "gradient": "*bf16"}
    signature = {
        name: numbers.get(name) or ("constexpr" if name in constants else types.get(name, "*fp32"))
        for name in kernel.arg_names
    }
    aligned = {(at,): [["tt.divisibility", 16]] for at, name in enumerate(signature) if signature[name] != "constexpr"}
    options = {name: value for name, value in arguments.items() if name in ("num_warps", "num_stages")}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]


@pytest.mark.parametrize("shape", [(32, 50, 32, 32), (128, 200, 4, 4), (1, 25, 2, 2), (1000, 100, 16, 16)])
def test_programs_work_on_every_pixel_once(shape):
    (programs,), sizes = pooling._launch(shape, shape[1] + 4, shape[1])
    covered = programs * sizes["PIXELS"] * sizes["TILES"]
    assert sizes["pixels"] <= covered < sizes["pixels"] + sizes["PIXELS"] * sizes["TILES"]
    assert sizes["OF_BIAS"] <= sizes["CHANNELS"] <= sizes["OF_X"] <= sizes["ACROSS"]


def test_wider_weights_are_the_weights_and_zeros():
    torch.manual_seed(0)
    weight = torch.randn(5, 3, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
    wide = precision.widened(weight, 8, 4, torch.bfloat16)
    assert wide.shape == (8, 4, 3, 3) and wide.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(wide[:5, :3], weight.bfloat16()) and not wide[5:].any() and not wide[:, 3:].any()
    towards = torch.randn_like(wide)
    wide.backward(towards)
    assert torch.equal(weight.grad, towards[:5, :3].float()) and weight.grad.stride() == weight.stride()
    assert precision.widened(weight, 5, 3, torch.float32) is weight


def test_a_cpu_runs_the_plain_layers():
    assert not gpu.usable(torch.zeros(1, 4, 8, 8))


@CUDA
@pytest.mark.parametrize("shape", [*SHAPES, (32, 50, 64, 64), (7, 100, 32, 32)])
@pytest.mark.parametrize("pool", [1, 2])
def test_on_a_gpu_too(shape, pool):
    assert gpu.available()
    compare(shape, pool, "cuda")


@CUDA
@pytest.mark.parametrize("pool", [1, 2])
def test_on_a_gpu_in_low_precision_and_first_blocks_too(pool):
    compare_low(pool, "cuda")
    compare_first((33, 4, 64, 64), 50, pool, torch.float32, "cuda")
    compare_first((3, 8, 64, 64), 25, pool, torch.bfloat16, "cuda")


@CUDA
@pytest.mark.parametrize("downsampling", ["maxpool", "strided"])
def test_an_encoder_on_a_gpu_agrees_with_the_cpu(downsampling):
    """To bfloat16's precision, gradients as well."""
    torch.manual_seed(0)
    blocks, x = encoder([4, 50, 100, 200], downsampling), torch.randn(8, 4, 64, 64)
    expected = blocks(x)
    expected.square().mean().backward()
    gradients = [parameter.grad.clone() for parameter in blocks.parameters()]
    blocks.zero_grad()
    blocks.to("cuda", memory_format=torch.channels_last)
    found = blocks(x.to("cuda"))
    found.square().mean().backward()
    assert found.dtype == torch.float32 and found.shape == expected.shape
    assert close(found, expected, 1e-2)
    assert all(close(p.grad, gradient, 3e-2) for p, gradient in zip(blocks.parameters(), gradients, strict=True))


@CUDA
def test_a_block_alone_agrees_too():
    torch.manual_seed(0)
    block, x = Downsample(200, 100, "maxpool"), torch.randn(8, 200, 16, 16)
    expected = block(x)
    found = block.to("cuda")(x.to("cuda"))
    assert found.dtype == torch.float32 and close(found, expected, 1e-2)


def close(found: torch.Tensor, expected: torch.Tensor, share: float) -> bool:
    """Whether the difference is so small a share of what is expected, both as root mean squares."""
    return bool((found.cpu() - expected).square().mean().sqrt() <= share * expected.square().mean().sqrt())
