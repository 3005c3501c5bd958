"""How to compute: measured on this machine with this model, not by habit.

bfloat16 is twice as fast as float32 on CPUs that have it in hardware and several times slower on others;
torch.compile pays only when a run is long enough.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from training.gpt import GPT

COMPILE_AFTER_S = 120.0
"""Runs that are expected to take longer are compiled: it costs 10 to 30 s once and saves a tenth or more."""


class Speed(NamedTuple):
    """How a run's arithmetic is done; kept in its state, so that going on computes the same."""

    precision: str
    compiled: bool


def device() -> torch.device:
    """Return the device to train on: a CUDA GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(precision: str, kind: str) -> AbstractContextManager[object]:
    """Return the context in which losses are computed at this precision."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(kind, getattr(torch, precision))


def choose(model: GPT, ids: Tensor, targets: Tensor, steps: int) -> Speed:
    """Measure one batch in float32 and bfloat16 and return what is fastest for `steps` steps.

    Leaves the model as it was.
    """
    if ids.device.type == "cuda":
        precision = "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
        taken = {precision: _measure(model, ids, targets, precision)}
    else:
        taken = {precision: _measure(model, ids, targets, precision) for precision in ("float32", "bfloat16")}
        precision = min(taken, key=lambda name: taken[name])
    return Speed(precision, taken[precision] * steps > COMPILE_AFTER_S)


def find_compiler() -> str | None:
    """Return the C++ compiler that torch.compile would use on this CPU, None if there is none."""
    return shutil.which(os.environ.get("CXX") or "g++") or shutil.which("clang++")


def _measure(model: GPT, ids: Tensor, targets: Tensor, precision: str) -> float:
    """Return seconds for one forward and backward pass: the best of two after one to warm up."""
    best = float("inf")
    for attempt in range(3):
        begun = time.perf_counter()
        with autocast(precision, ids.device.type):
            loss = model.loss(ids, targets)
        loss.backward()
        loss.item()
        if attempt:
            best = min(best, time.perf_counter() - begun)
        for parameter in model.parameters():
            parameter.grad = None
    return best
