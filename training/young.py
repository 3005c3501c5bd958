"""Young ages that can be talked with: each age on the ladder is settled, then taught to take turns.

A base age in the middle of its learning has high learning rates behind it, which hide what it knows. A short
decay to zero brings that out (Hägele et al. 2024, arXiv:2405.18392), beginning from the age's weights and at
its place in the text; the life of the lineage itself goes on from the age as it was.
"""

from __future__ import annotations

import torch

from selves.lineage import Age, AgeCard, age_name, read_age
from selves.settings import House
from training import base, chat
from training.loop import run_stage
from training.optim import learning_rate
from training.prune import pruned
from training.recipe import Recipe
from training.shards import Corpus
from training.stage import Machine, Stage
from training.watch import Watch

SETTLED, YOUNG = "settled", "young"


def train(
    recipe: Recipe,
    house: House,
    watch: Watch | None = None,
    *,
    threads: int | None = None,
    machine: Machine | None = None,
) -> list[AgeCard]:
    """Make the settled and the young ages that are not there yet; return the cards of those made.

    Raises AgeError if the base stage is not finished, else as `training.base.train`.
    """
    watch, machine = watch or Watch(None), machine or base.this_machine(threads)
    folder = house.checkpoints / recipe.lineage
    made: list[AgeCard] = []
    with base.opened(recipe, house, watch, machine) as corpus:
        gone = pruned(folder)

        def missing(name: str) -> bool:
            return not (folder / name).exists() and f"{recipe.lineage}@{name}" not in gone

        for step in recipe.young_steps:
            if f"{recipe.lineage}@{age_name(base.NAME, step)}" in gone:
                continue
            parent = folder / age_name(base.NAME, step)
            if recipe.young.settle:
                if missing(age_name(SETTLED, step)):
                    settling = settled_stage(recipe, house, corpus, read_age(parent))
                    made += run_stage(settling, recipe, house, corpus, watch, machine)
                parent = folder / age_name(SETTLED, step)
                if not parent.exists():  # pruned before it was taught
                    continue
            if missing(age_name(YOUNG, step)):
                teaching = young_stage(recipe, house, corpus, read_age(parent), watch)
                made += run_stage(teaching, recipe, house, corpus, watch, machine)
    return made


def settled_stage(recipe: Recipe, house: House, corpus: Corpus, age: Age) -> Stage:
    """Return the stage in which a base age's learning rates fall to zero, reading on in its text."""
    learning, at = base.stage(recipe, house, corpus), age.address.step
    steps = max(1, round(recipe.young.settle * at))
    scale = learning_rate(at, learning.steps, warmup=learning.warmup, decay=learning.decay)

    def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        return learning.batch(at + step)

    matrix, embedding, rest = learning.rates
    return learning._replace(
        name=SETTLED,
        steps=steps,
        age_steps=(steps,),
        batch=batch,
        rates=(matrix * scale, embedding * scale, rest * scale),
        warmup=0.05,
        decay=1.0,
        parent=age,
        label=at,
        events=False,
    )


def young_stage(recipe: Recipe, house: House, corpus: Corpus, age: Age, watch: Watch) -> Stage:
    """Return the stage that teaches a young age to take turns."""
    steps = recipe.young.steps
    taught = chat.stage(recipe, house, corpus, age, watch)
    return taught._replace(name=YOUNG, steps=steps, age_steps=(steps,), label=age.address.step)
