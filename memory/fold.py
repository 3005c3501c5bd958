"""Near-duplicates (pure): which texts say almost the same, so that a list shows them once.

Two texts are near-duplicates when, of all the runs of five characters in either, most are in both. Case,
accents, punctuation and white space do not count.
"""

from __future__ import annotations

from collections.abc import Sequence

from memory.query import plain_words

ALIKE = 0.7
"""Of the runs in either text, the share that must be in both."""
RUN = 5

Shape = frozenset[str]
"""The runs of characters of a text; the whole of a text that is shorter than one."""


def shape_of(text: str) -> Shape:
    """Return what is compared of a text."""
    bare = " ".join(plain_words(text)) or text.strip()
    return frozenset(bare[i : i + RUN] for i in range(max(1, len(bare) - RUN + 1)))


def alike(one: Shape, other: Shape) -> bool:
    """Whether two texts are near-duplicates of each other."""
    less, more = sorted((len(one), len(other)))
    if less < ALIKE * more:
        return False
    return len(one & other) >= ALIKE * len(one | other)


def first_alike(shape: Shape, kept: Sequence[Shape]) -> int | None:
    """Return the position of the first of `kept` that says almost the same; None if nothing does."""
    return next((i for i, other in enumerate(kept) if alike(shape, other)), None)
