"""From random weights to one who has read: pretraining on the recipe's text, keeping every age."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from selves.lineage import AgeCard
from selves.settings import House
from training import shards
from training.checkpoint import only_trainer
from training.loop import Stage, run_stage
from training.recipe import Recipe
from training.shards import Corpus
from training.watch import Watch

NAME = "base"


def train(
    recipe: Recipe, house: House, watch: Watch | None = None, *, threads: int | None = None
) -> list[AgeCard]:
    """Raise a self from random weights, or go on where it stopped; return its base ages' cards, in order.

    Raises CorpusError, TrainingError, DiskError; KeyboardInterrupt after Ctrl-C, with everything kept.
    """
    watch = watch or Watch(None)
    with only_trainer(house.checkpoints / recipe.lineage):
        corpus = shards.prepare(recipe, house, watch.tell)
        return run_stage(
            stage(recipe, corpus), recipe, house, corpus, watch, threads=threads or default_threads()
        )


def stage(recipe: Recipe, corpus: Corpus) -> Stage:
    """Return the base stage of a recipe."""
    base = recipe.base

    def batch(step: int) -> tuple[Tensor, Tensor]:
        window = window_tokens(recipe, step)
        rows = base.batch_tokens // window
        tokens = torch.from_numpy(shards.batch(corpus.train, step, rows, window, recipe.seed))
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
        parent=None,
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
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
