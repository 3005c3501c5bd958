"""How to compute: measured on this machine with this model, not by habit.

bfloat16 is twice as fast as float32 on CPUs that have it in hardware and several times slower on others;
torch.compile pays only when a run is long enough.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed

from training.gpt import GPT

COMPILE_AFTER_S = 120.0
"""Runs that are expected to take longer are compiled: it costs 10 to 30 s once and saves a tenth or more."""


Loss = Callable[[Tensor, Tensor, torch.dtype], Tensor]
"""Inputs, targets, and the dtype to compute in -> nats per token."""


class Speed(NamedTuple):
    """How a run's arithmetic is done; kept in its state, so that going on computes the same."""

    precision: str
    compiled: bool


def device() -> torch.device:
    """Return the device to train on: a CUDA GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


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
        candidates = ["bfloat16" if torch.cuda.is_bf16_supported() else "float32"]
    else:
        candidates = ["float32", "bfloat16"]
    taken = {candidate: _measure(model, ids, targets, candidate) for candidate in candidates}
    fastest = min(taken, key=lambda candidate: taken[candidate])
    return Speed(fastest, taken[fastest] * steps > COMPILE_AFTER_S)


def compile_loss(model: GPT, ids: Tensor, targets: Tensor, precision: str) -> Loss | None:
    """Return the model's compiled loss; None where this machine cannot compile.

    That is known only by trying: a C++ compiler may be missing, or Python's headers.
    """
    compiled = torch.compile(model.loss)
    try:
        compiled(ids, targets, dtype_of(precision)).backward()
    except BackendCompilerFailed:
        return None
    finally:
        model.zero_grad(set_to_none=True)
    return compiled


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
