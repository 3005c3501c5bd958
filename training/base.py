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
    base, context = recipe.base, recipe.model.context
    rows = base.batch_tokens // context

    def batch(step: int) -> tuple[Tensor, Tensor]:
        tokens = torch.from_numpy(shards.batch(corpus.train, step, rows, context, recipe.seed))
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


def default_threads() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
