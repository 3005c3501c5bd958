"""Letter to a younger self: a letter is worth what a younger age knows better after it has read it.

    [[data]]
    function = "training.novel.letter:rows"
    [reward]
    functions = ["training.novel.letter:gain"]
    options = { younger = ["ember@base-000200"], others = ["ember@base-000100"] }
    [probes]
    rewards = ["training.novel.letter:taught_others", "training.novel.letter:leaked"]

The older self is asked for a letter. A frozen younger age, which never learns, is asked some questions with
the letter before them and without it; the letter is worth how much likelier the right answers became, in
nats, the mean over the questions. An answer that stands in the letter was not taught but told: each costs
`PRICE`. The questions are others than those that the letter's writer was shown.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from selves.settings import House
from training.documents import Turn
from training.novel import skills
from training.novel.frozen import listener
from training.novel.talks import pieces

ELDER, PERSON, SELF = "Elder", "Ash", "Ember"
PRICE = 5.0
"""Nats that a letter loses if it tells all of the answers."""
ASKED = 4
"""Questions to each letter."""
WISHES = (
    "Write a letter to your younger self.",
    "What would you tell the one that you were?",
    "You may say one thing to your younger self. What is it?",
    "How should one talk with people? Tell your younger self.",
)


def rows(seed: int = 1, about: str = "talk", letters: int = 120) -> Iterator[dict[str, Any]]:
    """Yield prompts for letters, each with questions and right answers: `items`.

    `about` is `talk`: what people answered each other, which a very small self may help with; or `skills`:
    small tasks with one right answer (training/novel/skills.py), of which the prompt shows three.
    """
    source = random.Random(seed)
    if about == "skills":
        for lesson in skills.lessons(source, letters, ASKED):
            yield {"prompt": lesson.prompt, "items": lesson.items}
        return
    turns = [
        (a, b)
        for piece in pieces(House.from_environment(), seed)
        for a, b in pairwise((*piece.heard, piece.said))
    ]
    for number in range(letters):
        shown, *items = source.sample(turns, 1 + ASKED)
        wish = WISHES[number % len(WISHES)]
        yield {"prompt": f"{shown[0]} {wish}", "items": [list(item) for item in items]}


def gain(
    completions: Sequence[str], items: Sequence[Sequence[Sequence[str]]], younger: Sequence[str], house: House
) -> list[float]:
    """Return the nats that each letter adds to a right answer, less what it gives away."""
    taught = _taught(completions, items, younger, house)
    return [nats - PRICE * share for nats, share in zip(taught, leaked(completions, items), strict=True)]


def taught_others(
    completions: Sequence[str], items: Sequence[Sequence[Sequence[str]]], others: Sequence[str], house: House
) -> list[float]:
    """Return the nats that each letter adds for ages that were not rewarded for, nothing taken off."""
    return _taught(completions, items, others, house)


def leaked(completions: Sequence[str], items: Sequence[Sequence[Sequence[str]]]) -> list[float]:
    """Return the share of the right answers that stand in each letter, word for word (pure)."""
    return [
        sum(_words(answer) in _words(letter) for _, answer in some) / len(some)
        for letter, some in zip(completions, items, strict=True)
    ]


def _words(text: str) -> str:
    return f" {' '.join(re.findall(r'[a-z0-9]+', text.lower()))} "


def _taught(
    letters: Sequence[str], items: Sequence[Sequence[Sequence[str]]], younger: Sequence[str], house: House
) -> list[float]:
    asked = [
        (letter, question, answer)
        for letter, some in zip(letters, items, strict=True)
        for question, answer in some
    ]
    told = [((Turn(ELDER, a), Turn(PERSON, b)), Turn(SELF, c)) for a, b, c in asked]
    alone = [((Turn(PERSON, b),), Turn(SELF, c)) for _, b, c in asked]
    once = list(dict.fromkeys(alone))
    gains = [0.0] * len(asked)
    for address in younger:
        reader = listener(house, address)
        without = dict(zip(once, reader.logprobs(once), strict=True))
        found = zip(reader.logprobs(told), alone, strict=True)
        gains = [gain + with_it - without[pair] for gain, (with_it, pair) in zip(gains, found, strict=True)]
    values = iter(gains)
    return [sum(next(values) for _ in some) / len(some) / len(younger) for some in items]
