"""One sequence while it is being drawn: what has been said, what may come next, and when it is over."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np

from serving.asks import Ask, Finish, Piece, Scored
from serving.sampling import Floats, draw, is_stuck, next_of
from serving.streams import Detokenizer, StopScanner

CONTEXT_TOKENS = 6
"""How many tokens of the prompt the first piece of text is decoded with."""


class Words(NamedTuple):
    """What a sequence must know of its age's tokenizer."""

    decode: Callable[[list[int]], str]
    """Token ids to text, without special tokens."""
    token_text: Callable[[int], str]
    """One token, special or not, as logprobs name it."""
    end_ids: frozenset[int]


class Drawing:
    """Turns logits into pieces, one token at a time, with a chance of its own (its seed's).

    Nothing of it depends on other sequences.
    """

    def __init__(self, words: Words, prompt_ids: Sequence[int], ask: Ask) -> None:
        self.ask = ask
        self.drawn: list[int] = []
        self._words = words
        self._said = Counter(dict.fromkeys(prompt_ids, 0))
        self._chance = random.Random(ask.seed)
        self._text = Detokenizer(words.decode, prompt_ids[-CONTEXT_TOKENS:])
        self._stops = StopScanner(ask.stop)
        self._ends: Collection[int] = () if ask.ignore_eos else words.end_ids

    def draw(self, logits: Floats, logprobs: Floats) -> Piece:
        """Draw the next token from logits (V,); `logprobs` (V,) are the model's own."""
        ask = self.ask
        only: set[int] = set()
        if ask.choices:
            only = next_of(ask.choices, self.drawn)
            if tuple(self.drawn) in ask.choices:
                only |= self._words.end_ids
        early = len(self.drawn) < ask.min_tokens
        never = [*self._ends, *ask.stop_token_ids] if early and not ask.choices else []
        chance = 0.0 if ask.temperature == 0 else self._chance.random()
        token_id = draw(logits, ask, chance, self._said, only=only, never=never)
        self.drawn.append(token_id)
        self._said[token_id] += 1
        return self._piece(token_id, logprobs, early=early)

    def _piece(self, token_id: int, logprobs: Floats, *, early: bool) -> Piece:
        ask = self.ask
        ended = token_id in self._ends or (bool(ask.choices) and token_id in self._words.end_ids)
        stopped = token_id in ask.stop_token_ids and not early
        shown = "" if ended else self._text.add(token_id)
        shown = shown if early else self._stops.add(shown)
        chosen = bool(ask.choices) and not ended and not next_of(ask.choices, self.drawn)
        stuck = ask.repetition is not None and is_stuck(self.drawn, ask.repetition)
        over = ended or stopped or chosen or stuck or len(self.drawn) >= ask.max_tokens
        if over and self._stops.found is None:
            shown += self._stops.add(self._text.flush())
            shown += self._stops.flush()
        finish: Finish | None = None
        if ended or stopped or chosen or self._stops.found is not None:
            finish = "stop"
        elif stuck:
            finish = "repetition"
        elif over:
            finish = "length"
        stop = self._stops.found if self._stops.found is not None else token_id if stopped else None
        return Piece(
            shown,
            self._scored(token_id, logprobs, ask.logprobs),
            alternatives(logprobs, ask.logprobs, self._words.token_text),
            finish,
            stop,
        )

    def _scored(self, token_id: int, logprobs: Floats, named: int | None) -> Scored:
        text = "" if named is None else self._words.token_text(token_id)
        return Scored(token_id, float(logprobs[token_id]), text)


def alternatives(
    logprobs: Floats, number: int | None, token_text: Callable[[int], str]
) -> tuple[Scored, ...]:
    """Return the likeliest tokens of logprobs (V,), the likeliest first."""
    if not number:
        return ()
    number = min(number, logprobs.size)
    best = np.argpartition(logprobs, -number)[-number:]
    best = best[np.argsort(-logprobs[best], kind="stable")]
    return tuple(Scored(i, float(logprobs[i]), token_text(i)) for i in best.tolist())
