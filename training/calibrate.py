"""How many steps fit into so many minutes here: measured, so that learning rates reach zero in time.

What is read does not matter to the time, so random tokens do.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from selves.errors import UsageError
from training import base, speed
from training.budget import micro_tokens, shape_of
from training.gpt import GPT
from training.optim import Optimizer
from training.recipe import Recipe
from training.stage import Machine

WARM, TIMED = 2, 6
"""Steps of each window length that are made before the clock is looked at, and while it runs."""
PARTS = ((0.4, 0.0), (0.4, 0.5), (0.2, 0.9))
"""(share of the steps, a moment in it) with one length of window each; see base.window_tokens."""


def steps_within(minutes: float, recipe: Recipe, machine: Machine) -> int:
    """Return how many steps of the base stage take `minutes` on this machine, compiling included.

    A model of its own is trained for a few steps at each length of window and thrown away. Of several
    processes this one measures its share; what they say to each other is not counted. Raises UsageError if
    not even ten steps would be made.
    """
    torch.set_num_threads(machine.threads)
    speed.keep_memory()
    device, stated = machine.world.device, recipe.base
    model = GPT(shape_of(recipe)).to(device)
    model.initialise(recipe.seed)
    model.checkpointing = stated.activation_checkpointing
    at_once = stated.micro_tokens or micro_tokens(
        model.shape, device, checkpointing=stated.activation_checkpointing
    )
    source = torch.Generator().manual_seed(recipe.seed)

    def parts(done: float) -> list[tuple[Tensor, Tensor]]:
        window = base.window_tokens(recipe, int(done * stated.steps))
        rows = max(1, stated.batch_tokens // window // machine.world.size)
        ids = torch.randint(recipe.model.vocabulary, (rows, window + 1), generator=source).to(device)
        some = max(1, at_once // window)
        return list(zip(ids[:, :-1].split(some), ids[:, 1:].split(some), strict=True))

    first = parts(0.0)[0]
    dtype = speed.dtype_of(speed.choose(model, *first, 1, recipe.precision).precision)
    module: nn.Module = model
    begun = time.perf_counter()
    if minutes * 60 > speed.COMPILE_AFTER_S:
        compiled = speed.compiled(model, *first, dtype)
        module = model if compiled is None else compiled
    optimizer = Optimizer(model.named_parameters(), (1e-3, 1e-3, 1e-3), weight_decay=stated.weight_decay)
    compiling = time.perf_counter() - begun
    total = 0.0
    for share, done in PARTS:
        batch = parts(done)
        taken = []
        for _ in range(WARM + TIMED):
            begun = time.perf_counter()
            for ids, targets in batch:
                (module(ids, targets, dtype) / targets.numel()).backward()
            optimizer.step(1.0, dtype)
            taken.append(time.perf_counter() - begun)
        typical = sorted(taken[WARM:])[TIMED // 2]
        compiling += sum(taken[:WARM]) - WARM * typical
        total += share * typical
    steps = int((minutes * 60 - compiling) / total)
    if steps < 10:
        raise UsageError(
            f"{minutes:g} minutes are too few: a step takes {total:.1f} s here, compiling {compiling:.0f} s",
            "give it more minutes, or a smaller model or batch",
        )
    return steps
