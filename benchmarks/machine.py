"""What the machine is and can do, for the record: its CPU, its threads, its measured peak."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import Any

from selves.cores import available_cores

PEAK_SIDES = (512, 1024, 2048)


def describe(threads: int) -> dict[str, Any]:
    """Return the CPU's name, threads, versions, and the best rate of matrix products in GFLOP/s by dtype."""
    import torch

    torch.set_num_threads(threads)
    return {
        "cpu": cpu_name(),
        "threads": threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "peak_gflops": {dtype: round(_peak(dtype), 1) for dtype in ("float32", "bfloat16")},
    }


def _peak(dtype_name: str) -> float:
    import torch

    best = 0.0
    for side in PEAK_SIDES:
        a = torch.randn(side, side).to(getattr(torch, dtype_name))
        for _ in range(8):
            begun = time.perf_counter()
            a @ a
            best = max(best, 2 * side**3 / (time.perf_counter() - begun) / 1e9)
    return best


def cpu_name() -> str:
    """Return what the CPU is called."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(available_cores())
