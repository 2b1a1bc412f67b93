"""How many CPU cores there are to use."""

import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_cores() -> int:
    """Cores that this process may use: its affinity, and a container's CPU quota, which thread pools overlook."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if QUOTA.is_file():
        quota, _, period = QUOTA.read_text().partition(" ")
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    return cores
