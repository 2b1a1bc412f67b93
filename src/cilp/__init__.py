"""Fusion of camera images and LiDAR range images, and contrastive image-LiDAR pretraining (CILP)."""

import gc
import os
from pathlib import Path

# PyTorch's memory in huge pages, where Linux has them: the same numbers, sooner (docs/performance.md)
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

# Imports make 300,000 objects that stay: looking among them for garbage takes a fifth of the time. Later there is
# little of it, a training step makes none (tests/test_training.py).
gc.set_threshold(1_000_000, 50, 50)


def _has(instructions: set[str], cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the first processor of Linux' list has them; not where there is no such list."""
    try:
        with cpuinfo.open(encoding="utf-8") as lines:
            return instructions <= set(next((line for line in lines if line.startswith("flags")), "").split())
    except OSError:
        return False


# With AVX-512 PyTorch adds up in another order than with AVX2, and no faster here: without it a processor that has it
# gives the bits of one that has not (README.md, Decisions). PyTorch takes the variable's word for what there is.
if _has({"avx2", "avx512f"}):
    os.environ.setdefault("ATEN_CPU_CAPABILITY", "avx2")
