"""Which device trains, with how many threads, and what makes a run repeat bit by bit."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.utils.deterministic

from cilp.cores import available_cores
from cilp.errors import UserError
from cilp.training.distributed import join, place

DEVICES = ("auto", "cpu", "cuda")
EVALUATION_BATCH = {"cpu": 50, "cuda": 1000}
"""Samples evaluated at a time. A GPU wants them all at once; on a CPU, batches whose activations stay near the caches
are faster than large ones, and take less memory."""


def prepare_device(device: str) -> torch.device:
    """Resolve ``device`` (auto, cpu or cuda), switch on deterministic algorithms, and set at most a thread a core.

    Under ``torchrun`` it meets the other processes, and each takes a GPU of its own, or its share of the cores. A GPU
    that is there but cannot be used is said, and with ``auto`` the CPU takes its place.

    Raises:
        UserError: an unknown device, or cuda where there is none that can be used.
    """
    if device not in DEVICES:
        raise UserError(f"device is {device!r}; legal values: {', '.join(DEVICES)}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device is 'cuda', but torch sees no CUDA device here; set device: auto or cpu.")
    # cuBLAS repeats itself only with a fixed workspace, which must be chosen before CUDA starts
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms imports the compiler first, two seconds
    # fresh memory is filled to expose what is read before it is written; nothing here is, and filling takes its time
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    # below 1.2e-38 a number is zero: a training that converges has ever more of these, for which a CPU may take many
    # times as long. Threads that start later do the same, so this comes before any work
    torch.set_flush_denormal(True)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    share = max(1, available_cores() // here)  # of the cores; torchrun itself leaves one thread to each process
    torch.set_num_threads(share if here > 1 else min(torch.get_num_threads(), share))
    cuda = device != "cpu" and torch.cuda.is_available()
    if cuda and here > torch.cuda.device_count():
        raise UserError(f"{here} processes need as many GPUs, but there are {torch.cuda.device_count()}; start fewer.")
    number = place()
    if cuda and (why := unusable(number)):
        if device == "cuda" or here > 1:
            raise UserError(f"GPU {number} cannot be used ({why}); set device: cpu, or choose another one.")
        print(f"GPU {number} cannot be used ({why}): the CPU takes its place")
        cuda = False
    join(cuda)
    if not cuda:
        return torch.device("cpu")
    # inputs of convolutions and products are rounded to 10 bits of mantissa, sums are not: results stay deterministic
    torch.set_float32_matmul_precision("high")
    if not torch.cuda.is_tf32_supported():
        print(f"{torch.cuda.get_device_name(number)} has no TF32: convolutions and products take their time in float32")
    return torch.device("cuda", number)


def unusable(number: int) -> str:
    """Why nothing runs on a GPU that torch sees, or nothing: this build may have no kernels for it, or another process
    may hold it alone."""
    try:
        torch.ones(1, device=torch.device("cuda", number)).add_(1).item()
    except torch.OutOfMemoryError:  # whoever takes up the memory: it says nothing of the GPU
        raise
    except RuntimeError as error:
        return str(error).strip().splitlines()[0]
    return ""


@contextmanager
def exact_products() -> Iterator[None]:
    """Matrix products in all of float32's precision, on a GPU too: to compare cosines, three digits are too few."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def describe(device: torch.device) -> dict[str, str]:
    """Device name and library versions, which a result is quoted with."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{cpu_name()}, {torch.get_num_threads()} threads"
    return {
        "device": name,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The CPU and the vector instructions that PyTorch uses: they choose the kernels, and with them the rounding.

    A virtual machine may hide which model it runs on ("AMD EPYC"), so family and number stand beside the name.
    """
    fields: dict[str, str] = {}
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name") or platform.processor() or platform.machine()
    numbers = [f"{key.removeprefix('cpu ')} {fields[key]}" for key in ("cpu family", "model") if key in fields]
    return f"{name} ({', '.join([*numbers, torch.backends.cpu.get_cpu_capability()])})"
