"""Who said it (pure): a simple classifier learns from half of what selves said, and names who said the rest.

Naive Bayes over words, runs of three characters and length: nothing that could be called understanding.
Where it tells selves apart far above chance, their characters can be seen in what they say. The halves are
parted by question, so it never saw an answer to what it is tried on; and the interval is resampled by
question, as what all selves say to one is no independent evidence.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from training.figure import share_of

COMMON = 0.5
"""How much of what a self is expected to say is what all say: what nobody said before speaks for nobody."""

SPAN, WEIGHT = 3, 6
"""Words of which a length is made, and how many times it counts: there is but one in a text."""


class Told(NamedTuple):
    """How well selves were told apart."""

    selves: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Row: who said it; column: who was named."""
    by_question: tuple[int, ...]
    """To each question, how many selves were named rightly."""

    @property
    def n(self) -> int:
        return sum(map(sum, self.confusion))

    @property
    def right(self) -> int:
        return sum(row[at] for at, row in enumerate(self.confusion))

    @property
    def accuracy(self) -> float:
        return self.right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, of those classified by what was learned from the other half."""
        figure = share_of("told apart", [(right, len(self.selves)) for right in self.by_question])
        return figure.low, figure.high

    @property
    def chance(self) -> float:
        """What naming the one who says most would score."""
        return max(map(sum, self.confusion)) / self.n


def tell_apart(said: Mapping[str, Sequence[str]], seed: int = 1) -> Told:
    """Learn from half of the questions and name who answered the others; each self answers all, in order."""
    selves = tuple(said)
    count = min(len(texts) for texts in said.values())
    order = list(range(count))
    random.Random(seed).shuffle(order)
    learned, asked = order[: count // 2], order[count // 2 :]
    known = {name: Counter(piece for at in learned for piece in pieces(said[name][at])) for name in selves}
    pooled = sum(known.values(), Counter[str]())
    rare = pooled.total() + len(pooled) + 1

    def likely(piece: str, name: str) -> float:
        common = COMMON * (pooled[piece] + 1) / rare
        return math.log(common + (1 - COMMON) * known[name][piece] / known[name].total())

    def named(text: str) -> int:
        found = list(pieces(text))
        scores = [sum(likely(piece, name) for piece in found) for name in selves]
        return scores.index(max(scores))

    answered = [[named(said[who][at]) for at in asked] for who in selves]
    confusion = tuple(tuple(row.count(at) for at in range(len(selves))) for row in answered)
    right = tuple(sum(who == name for who, name in enumerate(names)) for names in zip(*answered, strict=True))
    return Told(selves, confusion, right)


def pieces(text: str) -> Iterable[str]:
    """Yield a text's words, its runs of three characters from its beginning to its end, and its length."""
    plain = " ".join(text.lower().split())
    words = plain.split()
    yield from words or ["(silence)"]
    edged = f"^{plain}$"
    yield from (edged[at : at + 3] for at in range(len(edged) - 2))
    yield from [f"({len(words) // SPAN})"] * WEIGHT
