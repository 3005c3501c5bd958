"""From one who has read to one who answers: supervised fine-tuning on conversations.

In each conversation one speaker is the self, all others are its user; only the self's turns are learned
(loss on assistant turns, their <|end|> included). A row is one piece of one conversation, so nothing leaks
from one into the next.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from selves.lineage import Age, AgeCard, age_name, read_age
from selves.settings import House
from training import base, shards
from training import tokenizer as alphabet
from training.documents import Document, one_line
from training.gpt import IGNORED
from training.loop import Machine, Stage, run_stage
from training.recipe import Recipe
from training.shards import Corpus
from training.watch import Watch

NAME = "chat"
SYSTEM_SHARE = 0.2
"""Share of pieces that begin with a system message, so that one does not confuse it later."""
FROM_THE_START = 0.5
"""Share of pieces that begin where the conversation begins; greetings matter most."""


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
        talks = shards.prepare_conversations(recipe, house)
    chat, context = recipe.chat, recipe.model.context
    rows = chat.batch_tokens // context

    def batch(step: int) -> tuple[Tensor, Tensor]:
        return make_batch(talks, corpus, step, rows, context, recipe)

    return Stage(
        name=NAME,
        steps=chat.steps,
        batch_tokens=chat.batch_tokens,
        age_steps=chat.age_steps,
        form="chat",
        batch=batch,
        rates=(
            recipe.base.matrix_rate * chat.rate,
            recipe.base.embedding_rate * chat.rate,
            recipe.base.rest_rate * chat.rate,
        ),
        warmup=0.05,
        decay=1.0,
        parent=parent,
    )


def make_batch(
    talks: Sequence[Document], corpus: Corpus, step: int, rows: int, context: int, recipe: Recipe
) -> tuple[Tensor, Tensor]:
    """Return inputs and targets (rows, context) of one step; targets of what is not learned are IGNORED."""
    end = alphabet.token(corpus.tokenizer, alphabet.END)
    ids = torch.full((rows, context + 1), end)
    learned = torch.zeros((rows, context + 1), dtype=torch.bool)
    for row in range(rows):
        epoch, number = divmod(step * rows + row, len(talks))
        source = random.Random(f"{recipe.seed} {epoch} {number}")
        talk = talks[int(shards.order(recipe.seed, epoch, len(talks))[number])]
        piece, mask = render(talk, corpus, context + 1, recipe, source)
        ids[row, : len(piece)] = torch.tensor(piece)
        learned[row, : len(mask)] = torch.tensor(mask)
    targets = ids[:, 1:].masked_fill(~learned[:, 1:], IGNORED)
    return ids[:, :-1], targets


def render(
    talk: Document, corpus: Corpus, limit: int, recipe: Recipe, source: random.Random
) -> tuple[list[int], list[bool]]:
    """Return up to `limit` token ids of a piece of a conversation, and which of them are learned.

    `source` picks who is the self and where the piece begins; it begins with a turn of another.
    """
    tokenizer = corpus.tokenizer
    speakers = list(dict.fromkeys(turn.speaker for turn in talk.turns))
    me = "assistant" if "assistant" in speakers else source.choice(speakers)
    starts = [
        at
        for at, turn in enumerate(talk.turns)
        if turn.speaker not in (me, "system") and any(later.speaker == me for later in talk.turns[at:])
    ] or [0]
    start = starts[0] if source.random() < FROM_THE_START else source.choice(starts)
    ids = [alphabet.token(tokenizer, alphabet.BOS)]
    learned = [False]
    told = [turn.text for turn in talk.turns[:1] if turn.speaker == "system"]
    if told or source.random() < SYSTEM_SHARE:
        told = told or [f"You are {alphabet.self_name(recipe.lineage)}, a young language model."]
        ids += alphabet.chat_turn(tokenizer, "system", told[0])
    learned += [False] * (len(ids) - 1)
    for turn in talk.turns[start:]:
        role = "assistant" if turn.speaker == me else "user"
        piece = alphabet.chat_turn(tokenizer, role, one_line(turn.text))
        ids += piece
        learned += [False] + [role == "assistant"] * (len(piece) - 1)
        if len(ids) >= limit:
            break
    return ids[:limit], learned[:limit]
