"""A million lines of conversation that nobody wrote: words by Zipf's law, lines as long as chat is.

The same seed gives the same lines. This file needs only the standard library, because a peer's environment
need not have ours. Pure.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from itertools import accumulate, product
from typing import NamedTuple

WORDS = 60_000
SYLLABLES = ["".join(pair) for pair in product("bdfgjklmnprstvz", "aeiou")]
MEDIAN_WORDS, SPREAD, MOST_WORDS = 2.5, 0.7, 200
"""Of a line: the logarithm of the median, the deviation of the logarithm, the longest."""
SCENE_LINES = 50
CHANNEL_SHARE = 10
"""One scene in two is on a platform, where people speak too; one of them holds a tenth of all lines."""
SELVES = ("Wick", "Moss", "Fern", "Ash")
PEOPLE = 200
PERSON_LINES = (100, 1000)
"""The first person says a hundredth of all lines, the second a thousandth."""


class Line(NamedTuple):
    """One line: of a self if `person` is None."""

    number: int
    scene: int
    sequence: int
    speaker: str
    person: int | None
    text: str
    sibling: str | None
    """Another answer for the same turn, that was not chosen."""
    public: bool
    """Whether the scene is one that people speak in."""


@cache
def word(rank: int) -> str:
    """Return the `rank`-th word by frequency, from 0; no two are alike, and frequent ones are short."""
    spelled = ""
    rank += 1
    while rank:
        rank, place = divmod(rank - 1, len(SYLLABLES))
        spelled = SYLLABLES[place] + spelled
    return spelled


@cache
def _vocabulary() -> tuple[list[str], list[float]]:
    return [word(rank) for rank in range(WORDS)], list(accumulate(1 / (rank + 2) for rank in range(WORDS)))


def text(source: random.Random) -> str:
    """Return a line as long as lines of chat are: 12 words at the median, 16 on average."""
    words, weights = _vocabulary()
    length = min(MOST_WORDS, max(1, round(source.lognormvariate(MEDIAN_WORDS, SPREAD))))
    return " ".join(source.choices(words, cum_weights=weights, k=length)).capitalize() + "."


def scenes(count: int, seed: int = 0) -> Iterator[list[Line]]:
    """Yield `count` lines, scene by scene."""
    source = random.Random(seed)
    left = [count // part for part in PERSON_LINES]
    number = scene = 0
    while number < count:
        scene += 1
        length = count // CHANNEL_SHARE if scene == 2 else SCENE_LINES
        lines: list[Line] = []
        for sequence in range(1, min(length, count - number) + 1):
            number += 1
            lines.append(_line(source, number, scene, sequence, left))
        yield lines


def _line(source: random.Random, number: int, scene: int, sequence: int, left: list[int]) -> Line:
    public = scene % 2 == 0
    person = None
    if public and sequence % 3 == 1:
        person = next((who for who, more in enumerate(left) if more and sequence % 2), None)
        if person is None:
            person = source.randrange(len(left), PEOPLE)
        else:
            left[person] -= 1
    speaker = SELVES[sequence % len(SELVES)] if person is None else f"person-{person}"
    said = text(source)
    sibling = text(source) if person is None and source.random() < 0.3 else None
    return Line(number, scene, sequence, speaker, person, said, sibling, public)
