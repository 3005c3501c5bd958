"""How many steps fit into so many minutes here: measured, so that learning rates reach zero in time."""

from __future__ import annotations

import time

from torch import Tensor, nn

from selves.errors import UsageError
from training import speed
from training.budget import micro_tokens, shape_of
from training.gpt import GPT
from training.optim import Optimizer
from training.recipe import Recipe
from training.shards import Corpus
from training.stage import Machine, Stage

WARM, TIMED = 2, 6
"""Steps of each window length that are made before the clock is looked at, and while it runs."""


def steps_within(minutes: float, stage: Stage, recipe: Recipe, corpus: Corpus, machine: Machine) -> int:
    """Return how many steps of a base stage take `minutes` on this machine, compiling included.

    A model of its own is trained for a few steps at each length of window and thrown away. Raises UsageError
    if not even ten steps would be made.
    """
    device = machine.world.device
    model = GPT(shape_of(recipe, corpus.tokenizer.get_vocab_size()))
    model.initialise(recipe.seed)
    model.to(device)
    rows_at_once = recipe.base.micro_tokens or micro_tokens(
        model.shape, device, checkpointing=recipe.base.activation_checkpointing
    )

    def parts(step: int) -> list[tuple[Tensor, Tensor]]:
        ids, targets = (tensor[:: machine.world.size].to(device) for tensor in stage.batch(step))
        rows = max(1, rows_at_once // ids.shape[1])
        return list(zip(ids.split(rows), targets.split(rows), strict=True))

    first = parts(0)[0]
    chosen = speed.choose(model, *first, 1, recipe.precision)
    dtype = speed.dtype_of(chosen.precision)
    module: nn.Module = model
    begun = time.perf_counter()
    if minutes * 60 > speed.COMPILE_AFTER_S:
        compiled = speed.compiled(model, *first, dtype)
        module = model if compiled is None else compiled
    optimizer = Optimizer(model.named_parameters(), stage.rates, weight_decay=recipe.base.weight_decay)
    compiling = time.perf_counter() - begun
    total = 0.0
    for share, at in ((0.4, 0.0), (0.4, 0.5), (0.2, 0.9)):
        batch = parts(int(at * stage.steps))
        taken = []
        for _ in range(WARM + TIMED):
            begun = time.perf_counter()
            for ids, targets in batch:
                (module(ids, targets, dtype) / targets.numel()).backward()
            optimizer.step(1e-3, dtype)
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
