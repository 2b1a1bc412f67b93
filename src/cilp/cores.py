"""What of the processor is used: how many of its cores, and which of its instructions."""

import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")


def _has(instructions: set[str], cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the first processor of Linux' list has them; not where there is no such list."""
    try:
        with cpuinfo.open(encoding="utf-8") as lines:
            return instructions <= set(next((line for line in lines if line.startswith("flags")), "").split())
    except OSError:
        return False


# With AVX-512 PyTorch adds up in another order than with AVX2, and no faster here: without it a processor that has it
# gives the bits of one that has not (docs/decisions.md). PyTorch takes the variable's word for what there is.
if _has({"avx2", "avx512f"}):
    os.environ.setdefault("ATEN_CPU_CAPABILITY", "avx2")


def available_cores() -> int:
    """Cores that this process may use: its affinity, and a container's CPU quota, which thread pools overlook."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if QUOTA.is_file():
        quota, _, period = QUOTA.read_text().partition(" ")
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    return cores
