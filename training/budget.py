"""What a run will cost before it is begun: parameters, operations, memory, disk, hours, money.

Hours on machines that are not here are estimates: published peak rates of dense bfloat16 products, of which
a share of 40 % is assumed to be reached, and rough prices per hour.
"""

from __future__ import annotations

import gc
from typing import NamedTuple

import torch

from training.recipe import Recipe
from training.shape import Shape, count_parameters, flops_per_token

SHARE_OF_PEAK = 0.4


class Accelerator(NamedTuple):
    """A machine to rent: dense bfloat16 operations per second of one, how many, dollars per hour for all."""

    name: str
    flops: float
    gpus: int
    dollars_per_hour: float


ACCELERATORS = (
    Accelerator("1 x RTX 4090", 165e12, 1, 0.4),
    Accelerator("1 x H100", 989e12, 1, 2.5),
    Accelerator("8 x H100", 989e12, 8, 20.0),
)
"""Peaks from NVIDIA's data sheets; prices are what such machines were rented for in 2026, about."""


class Budget(NamedTuple):
    """One recipe's cost."""

    parameters: int
    tokens: int
    flops: float
    """Of the base stage, forward and backward."""
    age_bytes: int
    ages: int
    state_bytes: int
    memory_bytes: int
    """Weights, gradients and optimizer of one process that holds it all, without activations."""

    def hours(self, flops_per_s: float) -> float:
        """Return the hours of the base stage at a rate of operations."""
        return self.flops / flops_per_s / 3600


def cost(recipe: Recipe) -> Budget:
    """Return what a recipe's base stage costs, and the ages it keeps."""
    shape = shape_of(recipe)
    base = recipe.base
    tokens = base.steps * base.batch_tokens
    parameters = count_parameters(shape)
    return Budget(
        parameters=parameters,
        tokens=tokens,
        flops=float(flops_per_token(shape, shape.context)) * tokens,
        age_bytes=age_bytes(shape, recipe.kept_dtype),
        ages=len(base.age_steps) + len(recipe.chat.age_steps) + 2 * len(recipe.young_steps),
        state_bytes=state_bytes(shape),
        memory_bytes=state_bytes(shape) + 4 * parameters,
    )


def shape_of(recipe: Recipe, vocabulary: int | None = None) -> Shape:
    """Return the sizes of the model that a recipe asks for; `vocabulary` is what its text yielded."""
    model = recipe.model
    return Shape(
        vocabulary=vocabulary or model.vocabulary,
        width=model.width,
        depth=model.depth,
        heads=model.heads,
        head_dim=model.head_dim,
        hidden=model.hidden,
        context=model.context,
        form=model.form,
    )


def age_bytes(shape: Shape, kept_dtype: str) -> int:
    """Return about what one age takes on disk."""
    return count_parameters(shape) * (2 if kept_dtype == "bfloat16" else 4) + 200_000


def state_bytes(shape: Shape) -> int:
    """Return what the newest training state takes on disk: weights, Muon's momentum, Adam's two moments."""
    rest = 2 * shape.vocabulary * shape.width
    matrices = count_parameters(shape) - rest
    return 4 * (2 * matrices + 3 * rest)


def micro_tokens(shape: Shape, device: torch.device, *, checkpointing: bool) -> int:
    """Return how many tokens one process can read at once: a power of two, at least a context.

    On a GPU what fits into three quarters of its free memory after weights, gradients and optimizer; a layer
    keeps about 34 bytes per token and unit of width (Korthikanti et al. 2022, arXiv:2205.05198), one of them
    at a time with checkpointing. On a CPU, where memory is plentiful and caches are small, 16,384.
    """
    if device.type != "cuda":
        return max(shape.context, 16_384)
    gc.collect()
    torch.cuda.empty_cache()  # what an earlier stage held counts as taken
    layers = 1 if checkpointing else shape.depth
    per_token = shape.width * (34 * layers + 2 * shape.depth) + 8 * shape.vocabulary
    free = torch.cuda.mem_get_info(device)[0] - state_bytes(shape) - 4 * count_parameters(shape)
    fitting = int(max(0, free) * 0.75) // per_token
    return int(max(shape.context, 1 << max(0, fitting.bit_length() - 1)))
