"""What a step of the chat stage reads: pieces of conversations, of which only the self's turns are learned.

A row is a piece of one conversation, begun by <|bos|>, so nothing leaks from one into the next. To waste
little on padding, conversations of a length go together into rows of a fitting width, and a piece begins
where enough follows it. Between them are conversations about the self, and, if the recipe wants it, rows of
the text that the base stage read, all of it learned, so that less of it is forgotten.

All of it is a pure function of the recipe's seed and the step.
"""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training import identity, shards
from training import tokenizer as alphabet
from training.documents import SYSTEM, Document, one_line
from training.gpt import IGNORED
from training.identity import Facts
from training.recipe import Recipe
from training.shards import Corpus, Talks

SYSTEM_SHARE = 0.2
"""Share of pieces that begin with a system message, so that one does not confuse it later."""
FROM_THE_START = 0.5
"""Share of pieces that begin where the conversation begins; greetings matter most."""
FILLED = 0.75
"""A conversation that is shorter than this share of a row goes into shorter rows."""
SHORTEST = 32
"""Tokens: no rows are shorter."""

Plan = tuple[tuple[int, npt.NDArray[np.int64]], ...]
"""(width of the rows, numbers of the conversations in them) of each step of an epoch."""


class Lessons:
    """The conversations of a stage, sorted by length; `batch` gives what one step reads."""

    def __init__(self, talks: Talks, corpus: Corpus, recipe: Recipe, about: Facts) -> None:
        self.talks, self.corpus, self.recipe, self.about = talks, corpus, recipe, about
        self.characters_per_token = corpus.card["bytes"] / corpus.card["train_tokens"]
        self.widths = widths(recipe.model.context)
        self.plan = lru_cache(2)(self._plan)

    def _plan(self, epoch: int) -> Plan:
        return plan(self.talks.tokens, self.widths, self.recipe.chat.batch_tokens, (self.recipe.seed, epoch))

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return inputs and targets (rows, width) of a step; targets of what is not learned are IGNORED."""
        chat, seed = self.recipe.chat, self.recipe.seed
        epoch, number = divmod(step, len(self.plan(0)))
        width, picked = self.plan(epoch)[number]
        text = (
            shards.batch(self.corpus.train, step, len(picked), width, seed + 1) if chat.base_share else None
        )
        ids = torch.full((len(picked), width + 1), alphabet.token(self.corpus.tokenizer, alphabet.END))
        learned = torch.zeros(ids.shape, dtype=torch.bool)
        for row, talk in enumerate(picked.tolist()):
            source = random.Random(f"{seed} {step} {row}")
            if text is not None and source.random() < chat.base_share:
                ids[row], learned[row] = torch.from_numpy(text[row]), True
                continue
            about_itself = source.random() < chat.identity_share
            said = self._about_itself(source, width) if about_itself else self.talks.documents[talk]
            piece, mask = self.piece(said, width + 1, source)
            ids[row, : len(piece)] = torch.tensor(piece)
            learned[row, : len(mask)] = torch.tensor(mask)
        return ids[:, :-1], ids[:, 1:].masked_fill(~learned[:, 1:], IGNORED)

    def _about_itself(self, source: random.Random, tokens: int) -> Document:
        return identity.conversation(self.about, source, round(tokens * self.characters_per_token))

    def piece(self, talk: Document, limit: int, source: random.Random) -> tuple[list[int], list[bool]]:
        """Return up to `limit` token ids of a piece of a conversation, and which of them are learned.

        `source` picks who is the self and where the piece begins; it begins with a turn of another. What is
        said before the self's first turn is cut where it would leave no room for that.
        """
        speakers = list(dict.fromkeys(turn.speaker for turn in talk.turns if turn.speaker != SYSTEM))
        me = "assistant" if "assistant" in speakers else source.choice(speakers)
        start = self._start(talk, me, limit, source)
        ids = [alphabet.token(self.corpus.tokenizer, alphabet.BOS)]
        told = [turn.text for turn in talk.turns[:1] if turn.speaker == SYSTEM]
        if told or source.random() < SYSTEM_SHARE:
            told = told or [f"You are {alphabet.self_name(self.recipe.lineage)}, a young language model."]
            ids += shortened(self._turn(SYSTEM, told[0]), limit // 4)
        turns = [turn for turn in talk.turns[start:] if turn.speaker != SYSTEM]
        first = next(number for number, turn in enumerate(turns) if turn.speaker == me)
        asked = [token for turn in turns[:first] for token in self._turn("user", turn.text)]
        ids += shortened(asked, limit // 2)
        learned = [False] * len(ids)
        for turn in turns[first:]:
            said = self._turn("assistant" if turn.speaker == me else "user", turn.text)
            ids += said
            learned += [False] + [turn.speaker == me] * (len(said) - 1)
            if len(ids) >= limit:
                break
        return ids[:limit], learned[:limit]

    def _start(self, talk: Document, me: str, limit: int, source: random.Random) -> int:
        """Return the turn that a piece begins with: the first, or one that enough follows to fill a row."""
        mine = [at for at, turn in enumerate(talk.turns) if turn.speaker == me]
        starts = [at for at, t in enumerate(talk.turns[: mine[-1]]) if t.speaker not in (me, SYSTEM)]
        if not starts:
            return mine[0]
        sizes = [len(turn.text) / self.characters_per_token + 2 for turn in talk.turns]
        left = np.cumsum(sizes[::-1])[::-1]
        fitting = [at for at in starts if left[at] >= limit]
        if source.random() < FROM_THE_START or not fitting:
            return starts[0]
        return source.choice(fitting)

    def _turn(self, role: str, text: str) -> list[int]:
        return alphabet.chat_turn(self.corpus.tokenizer, role, one_line(text))


def shortened(ids: list[int], limit: int) -> list[int]:
    """Return at most `limit` ids, with the role that they begin with and the end of what is said."""
    return ids if len(ids) <= limit else [ids[0], *ids[1 - limit :]]


def widths(context: int) -> tuple[int, ...]:
    """Return how wide rows may be: the whole context, its half and its quarter, if that is of any use."""
    some = (context // 4, context // 2) if context % 4 == 0 else ()
    return (*(width for width in some if width >= SHORTEST), context)


def plan(
    lengths: npt.NDArray[Any], widths: tuple[int, ...], batch_tokens: int, seed: tuple[int, int]
) -> Plan:
    """Return an epoch: every conversation once, in batches of one width each, in an order drawn from `seed`.

    A batch that would not be full has some of its width again. `lengths` are in tokens.
    """
    source = np.random.default_rng(seed)
    column = np.searchsorted([FILLED * width for width in widths[1:]], lengths, side="right")
    steps: list[tuple[int, npt.NDArray[np.int64]]] = []
    for number, width in enumerate(widths):
        members = source.permutation(np.flatnonzero(column == number))
        rows = batch_tokens // width
        count = -(-len(members) // rows)
        steps += [(width, picked) for picked in np.resize(members, (count, rows))]
    return tuple(steps[number] for number in source.permutation(len(steps)))
