"""What a run costs, by itself: seconds, samples per second, peak memory. Measured, hence never twice the same."""

import ctypes
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

MEGABYTE = 1e6


class CostMeter:
    """Measures from its creation to ``finish``; ``count`` is told of each stretch of training, such as an epoch."""

    def __init__(self, device: torch.device):
        self.device = device
        self.rates: list[float] = []
        self.before, self.peak = 0.0, 0.0
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
        else:
            _forget_peak_of_earlier_runs()
        self.start = time.perf_counter()

    def count(self, samples: int, seconds: float) -> None:
        """Count the samples of one stretch of training, and the seconds they took without the validation."""
        self.rates.append(samples / seconds)

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on later has cost so far."""
        seconds = self.before + time.perf_counter() - self.start
        return {"seconds": seconds, "rates": list(self.rates), "peak": self._peak_bytes()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Add what the run cost before."""
        self.before, self.rates, self.peak = state["seconds"], list(state["rates"]), state["peak"]

    def finish(self) -> dict[str, float]:
        """``train_seconds`` (with validation), ``samples_per_second`` (training, the median stretch) and
        ``peak_memory_mb`` (CUDA: allocated by tensors; CPU: resident memory of the process)."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        seconds = self.before + time.perf_counter() - self.start
        cost = {"train_seconds": seconds, "samples_per_second": statistics.median(self.rates)}
        if peak := self._peak_bytes():
            cost["peak_memory_mb"] = peak / MEGABYTE
        return cost

    def _peak_bytes(self) -> float:
        """Most memory that any part of the run has had, 0 where it cannot be known."""
        now = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else _peak_resident_bytes()
        return max(self.peak, now or 0.0)


def _forget_peak_of_earlier_runs() -> None:
    """Return freed memory to the system and reset the kernel's high-water mark (Linux; a no-op elsewhere)."""
    if sys.platform != "linux":
        return
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        pass  # another C library, or a read-only /proc: the mark then covers the process's whole life


def _peak_resident_bytes() -> float | None:
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    for line in status.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) * 1024
    return None
