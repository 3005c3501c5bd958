"""From one who has read to one who answers: supervised fine-tuning on conversations.

In each conversation one speaker is the self, all others are its user; only the self's turns are learned
(loss on assistant turns, their <|end|> included). What a step reads is in `lessons`.
"""

from __future__ import annotations

from selves.lineage import Age, AgeCard, age_name, read_age
from selves.settings import House
from training import base, identity, shards
from training import tokenizer as alphabet
from training.lessons import Lessons
from training.loop import run_stage
from training.recipe import Recipe
from training.shards import Corpus
from training.stage import Machine, Stage
from training.watch import Watch

NAME = "chat"


def train(
    recipe: Recipe,
    house: House,
    watch: Watch | None = None,
    *,
    threads: int | None = None,
    machine: Machine | None = None,
) -> list[AgeCard]:
    """Teach the last base age to take turns, or go on where that stopped; return the chat age's card.

    Raises AgeError if the base stage is not finished, else as `training.base.train`.
    """
    watch, machine = watch or Watch(None), machine or base.this_machine(threads)
    with base.opened(recipe, house, watch, machine) as corpus:
        parent = read_age(house.checkpoints / recipe.lineage / age_name(base.NAME, recipe.base.steps))
        taught = stage(recipe, house, corpus, parent, watch)
        return run_stage(taught, recipe, house, corpus, watch, machine)


def stage(recipe: Recipe, house: House, corpus: Corpus, parent: Age, watch: Watch) -> Stage:
    """Return the stage that teaches `parent` to take turns. Raises CorpusError without conversations."""
    if corpus.has_conversations:
        talks = shards.conversations(corpus)
    else:
        watch.tell(f"this text has no conversations; turns are learned from {recipe.chat.package}")
        talks = shards.prepare_conversations(recipe, house, corpus)
    chat, card = recipe.chat, parent.card
    name = alphabet.self_name(recipe.lineage)
    about = identity.facts(recipe, name, card.parameters, parent.address.step, card.tokens_seen)
    return Stage(
        name=NAME,
        steps=chat.steps,
        batch_tokens=chat.batch_tokens,
        age_steps=chat.age_steps,
        form="chat",
        batch=Lessons(talks, corpus, recipe, about).batch,
        rates=(
            recipe.base.matrix_rate * chat.rate,
            recipe.base.embedding_rate * chat.rate,
            recipe.base.rest_rate * chat.rate,
        ),
        warmup=0.05,
        decay=1.0,
        parent=parent,
    )
