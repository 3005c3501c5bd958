"""From random weights to one who has read: pretraining on the recipe's text, keeping every age."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor

from selves.cores import available_cores
from selves.lineage import AgeCard, find_age
from selves.settings import House
from training import parallel, shards
from training.checkpoint import only_trainer
from training.loop import run_stage
from training.packing import Packed
from training.parallel import World
from training.recipe import Recipe
from training.shards import Corpus
from training.stage import Machine, Stage
from training.watch import Watch

NAME = "base"


def train(
    recipe: Recipe,
    house: House,
    watch: Watch | None = None,
    *,
    threads: int | None = None,
    machine: Machine | None = None,
) -> list[AgeCard]:
    """Raise a self from random weights or its parent's, or go on where it stopped; return the base ages.

    Raises CorpusError, TrainingError, DiskError; KeyboardInterrupt after Ctrl-C, with everything kept.
    """
    watch, machine = watch or Watch(None), machine or this_machine(threads)
    with opened(recipe, house, watch, machine) as corpus:
        return run_stage(stage(recipe, house, corpus), recipe, house, corpus, watch, machine)


@contextmanager
def opened(recipe: Recipe, house: House, watch: Watch, machine: Machine) -> Iterator[Corpus]:
    """Hold the lineage's lock and open its text, made by rank 0 while the others wait."""
    first = machine.world.first
    with only_trainer(house.checkpoints / recipe.lineage) if first else nullcontext():
        corpus = shards.prepare(recipe, house, watch.tell) if first else None
        parallel.wait(machine.world)
        yield corpus or shards.prepare(recipe, house, watch.tell)


def this_machine(threads: int | None = None) -> Machine:
    """Return this process alone, with a GPU if there is one, and all cores it may use."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Machine(World(device=device), threads or default_threads())


def stage(recipe: Recipe, house: House, corpus: Corpus) -> Stage:
    """Return the base stage of a recipe. Raises AgeError if its parent is gone."""
    base = recipe.base
    read = Packed(corpus).batch if base.pack == "documents" else partial(shards.batch, corpus.train)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        window = window_tokens(recipe, step)
        rows = base.batch_tokens // window
        tokens = torch.from_numpy(read(step, rows, window, recipe.seed))
        return tokens[:, :-1], tokens[:, 1:]

    return Stage(
        name=NAME,
        steps=base.steps,
        batch_tokens=base.batch_tokens,
        age_steps=base.age_steps,
        form="transcript",
        batch=batch,
        rates=(base.matrix_rate, base.embedding_rate, base.rest_rate),
        warmup=base.warmup,
        decay=base.decay,
        parent=find_age(house.checkpoints, recipe.parent) if recipe.parent else None,
        events=True,
    )


def window_tokens(recipe: Recipe, step: int) -> int:
    """Return how far back a step looks: a quarter of the context, then half, then all of it.

    More, shorter rows of different texts teach more per token while a model is young (Press, Smith, Lewis
    2021, arXiv:2012.15832; Li, Zhang, He 2022, arXiv:2108.06084); the last fifth learns the far positions.
    """
    context, done = recipe.model.context, step / recipe.base.steps
    if context % 4 or not recipe.base.grow_windows:
        return context
    return context // 4 if done < 0.4 else context // 2 if done < 0.8 else context


def default_threads() -> int:
    """Return how many CPU cores this process may use."""
    return len(available_cores())
