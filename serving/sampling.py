"""From a model's logits to the next token, as asked. Pure: the only chance in it is the `chance` it is given.

The order is vLLM's: what must not be drawn, bias, penalties, temperature, min-p, top-k, top-p.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from serving.asks import Ask, Repetition

Floats = NDArray[np.float32]

GREEDY_BELOW = 1e-5
"""Temperatures below this are greedy, as in vLLM."""


def draw(
    logits: Floats,
    ask: Ask,
    chance: float,
    said: Mapping[int, int],
    *,
    only: Collection[int] = (),
    never: Sequence[int] = (),
) -> int:
    """Draw one token id from logits (V,), which are not changed.

    `said` are the tokens of the sequence so far, with how often each was drawn: 0 for the prompt's. `chance`
    in [0, 1) decides which; `only`, if any, are the tokens that may be drawn, `never` those that
    may not.
    """
    logits = _shaped(logits, ask, said, only, never)
    if ask.temperature < GREEDY_BELOW:
        return int(logits.argmax())
    odds = _odds(logits, ask)
    upto = odds.cumsum(dtype=np.float64)
    # rounding may leave the last sum a little above all that was asked for
    return int(min(np.searchsorted(upto, chance * upto[-1], side="right"), _last(odds)))


def _shaped(
    logits: Floats, ask: Ask, said: Mapping[int, int], only: Collection[int], never: Sequence[int]
) -> Floats:
    """Return the logits after masks, bias and penalties.

    The repetition penalty divides positive logits of tokens that were said and multiplies negative ones
    (Keskar et al. 2019); presence and frequency penalties are OpenAI's, for tokens that were drawn.
    """
    if only:
        allowed = np.fromiter(only, dtype=np.int64)
        masked = np.full_like(logits, -np.inf)
        masked[allowed] = logits[allowed]
        logits = masked
    else:
        logits = logits.copy()
    if never:
        logits[list(never)] = -np.inf
    for token_id, bias in ask.logit_bias:
        logits[token_id] += bias
    if ask.repetition_penalty != 1:
        ids = np.fromiter(said, dtype=np.int64)
        values = logits[ids]
        penalty = np.float32(ask.repetition_penalty)
        logits[ids] = np.where(values > 0, values / penalty, values * penalty)
    if ask.presence_penalty or ask.frequency_penalty:
        drawn = {token_id: times for token_id, times in said.items() if times}
        ids = np.fromiter(drawn, dtype=np.int64)
        times = np.fromiter(drawn.values(), dtype=np.float32)
        logits[ids] -= np.float32(ask.frequency_penalty) * times + np.float32(ask.presence_penalty)
    return logits


def _odds(logits: Floats, ask: Ask) -> Floats:
    """Return the probabilities (V,) to draw with, in proportion; 0 for what was cut off.

    Tokens that are exactly as likely as the last that stays, stay too.
    """
    odds: Floats = np.exp((logits - logits.max()) / np.float32(ask.temperature))
    if ask.min_p > 0:
        odds[odds < ask.min_p] = 0  # the likeliest has 1
    if 0 < ask.top_k < odds.size:
        odds[odds < np.partition(odds, -ask.top_k)[-ask.top_k]] = 0
    if ask.top_p < 1:
        falling = np.sort(odds)[::-1]
        upto = falling.cumsum(dtype=np.float64)
        enough = int(np.searchsorted(upto, ask.top_p * upto[-1]))
        odds[odds < falling[min(enough, falling.size - 1)]] = 0
    return odds


def _last(odds: Floats) -> int:
    return int(np.flatnonzero(odds)[-1])


def next_of(choices: Sequence[Sequence[int]], drawn: Sequence[int]) -> set[int]:
    """Return which tokens lead on from what was drawn towards one of the choices; none at the end."""
    at = len(drawn)
    return {choice[at] for choice in choices if len(choice) > at and list(choice[:at]) == list(drawn)}


def is_stuck(drawn: Sequence[int], limit: Repetition) -> bool:
    """Whether one pattern of tokens has come again and again at the end of what was drawn."""
    for size in range(max(1, limit.min_pattern), limit.max_pattern + 1):
        span = size * limit.min_count
        if span > len(drawn):
            return False
        tail = drawn[len(drawn) - span :]
        if all(tail[i] == tail[i - size] for i in range(size, span)):
            return True
    return False
