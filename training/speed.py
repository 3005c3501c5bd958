"""How to compute: measured on this machine with this model, not by habit.

bfloat16 is twice as fast as float32 on CPUs that have it in hardware and several times slower on others;
torch.compile pays only when a run is long enough.
"""

from __future__ import annotations

import ctypes
import sys
import time
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch._dynamo.exc import BackendCompilerFailed

from training.gpt import GPT

COMPILE_AFTER_S = 60.0
"""Runs that are expected to take longer are compiled: it costs 10 to 30 s once and saves a tenth or more."""

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Of glibc's malloc.h."""


class Speed(NamedTuple):
    """How a run's arithmetic is done; kept in its state, so that going on computes the same."""

    precision: str
    compiled: bool


def keep_memory() -> None:
    """Let this process keep the memory that it frees, as each step needs the same again.

    Otherwise glibc gives large blocks back to the system at every step and the system clears them anew: a
    sixth to a fifth of the time of a small model on a CPU. Other C libraries are left as they are.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def dtype_of(precision: str) -> torch.dtype:
    """Return `float32` or `bfloat16` as torch's dtype."""
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def choose(model: GPT, ids: Tensor, targets: Tensor, steps: int, precision: str) -> Speed:
    """Measure one batch and return what is fastest for `steps` steps; `precision` may be settled or `auto`.

    Leaves the model as it was.
    """
    if precision != "auto":
        candidates = [precision]
    elif ids.device.type == "cuda":
        candidates = ["bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"]
    else:
        candidates = ["float32", "bfloat16"]
    taken = {candidate: _measure(model, ids, targets, candidate) for candidate in candidates}
    fastest = min(taken, key=lambda candidate: taken[candidate])
    return Speed(fastest, taken[fastest] * steps > COMPILE_AFTER_S)


def compiled(model: GPT, ids: Tensor, targets: Tensor, dtype: torch.dtype) -> nn.Module | None:
    """Return the model compiled; None where this machine cannot compile.

    That is known only by trying: a C++ compiler may be missing, or Python's headers. Each window length is
    compiled for itself, so that a run that goes on computes exactly what it did before.
    """
    module = torch.compile(model, dynamic=False)
    try:
        module(ids, targets, dtype).backward()
    except BackendCompilerFailed:
        return None
    finally:
        model.zero_grad(set_to_none=True)
    return module  # type: ignore[return-value]


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the operations per second of large matrix products here, the best of a few; for MFU."""
    side = 8192 if device.type == "cuda" else 1024
    a = torch.ones(side, side, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(6):
        begun = time.perf_counter()
        (a @ a)[0, 0].item()
        best = min(best, time.perf_counter() - begun)
    return 2 * side**3 / best


def _measure(model: GPT, ids: Tensor, targets: Tensor, precision: str) -> float:
    """Return seconds for one forward and backward pass: the best of two after one to warm up."""
    best = float("inf")
    for attempt in range(3):
        begun = time.perf_counter()
        loss = model.loss(ids, targets, dtype_of(precision))
        loss.backward()
        loss.item()
        if attempt:
            best = min(best, time.perf_counter() - begun)
        for parameter in model.parameters():
            parameter.grad = None
    return best
