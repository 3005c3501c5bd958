"""Which of the texts that were found says most about what was asked (pure).

The measure is BM25, with what is common counted among the texts that were found, so that it is the same on
either database and costs no more than they do.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from memory.query import Query, how_often, plain_words

SATURATION = 1.2
LENGTH = 0.75


def rank(query: Query, texts: Sequence[str]) -> list[float]:
    """Return a figure for each text, the higher the better it fits; only their order says anything."""
    if not texts:
        return []
    terms = list({term for group in query.groups for term in group})
    words = [plain_words(text) for text in texts]
    counts = [[how_often(term, some) for term in terms] for some in words]
    mean = sum(map(len, words)) / len(words) or 1
    weights = [_rarity(sum(1 for row in counts if row[i]), len(texts)) for i in range(len(terms))]
    return [
        sum(weight * _saturated(n, len(some) / mean) for weight, n in zip(weights, row, strict=True))
        for row, some in zip(counts, words, strict=True)
    ]


def rarest(words: Sequence[str], others: Sequence[str], most: int) -> list[str]:
    """Return up to `most` of these words, those that the fewest of the other texts have; longer ones first
    among equals. Words that more than one text in twenty has (and more than three) are left out, unless
    nothing else is there.
    """
    having = Counter(word for text in others for word in set(plain_words(text)))
    ordered = sorted(set(words), key=lambda word: (having[word], -len(word), word))
    telling = [word for word in ordered if having[word] <= max(3, len(others) // 20)]
    return (telling or ordered)[:most]


def _rarity(having: int, texts: int) -> float:
    return math.log(1 + (texts - having + 0.5) / (having + 0.5))


def _saturated(count: int, length: float) -> float:
    return count * (SATURATION + 1) / (count + SATURATION * (1 - LENGTH + LENGTH * length))
