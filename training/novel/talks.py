"""Pieces of conversations between people, which no age that was raised on the package has read."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from selves.files import sha256_text
from selves.settings import House
from training.corpus import read
from training.recipe import Source

LONGEST = 160
"""Characters of a turn."""


class Piece(NamedTuple):
    """Five turns in a row, the first, third and fifth by one person."""

    heard: tuple[str, str, str]
    said: str
    """What the other really said then."""
    next_turn: str

    @property
    def kept_out(self) -> bool:
        """Whether it is measured with and not learned: every third, by a hash of what is said."""
        return int(sha256_text(self.said)[:8], 16) % 3 == 0


def pieces(house: House, seed: int) -> Iterator[Piece]:
    """Yield pieces of held-out conversations in an order drawn from `seed`; none shares a turn with another.

    Raises CorpusError if the package cannot be had.
    """
    found = []
    for talk in read(Source(package="chitchat"), house):
        turns = [turn.text for turn in talk.turns] if talk.held_out else []
        for at in range(0, len(turns) - 4, 5):
            first, second, third, said, after = turns[at : at + 5]
            if max(map(len, (first, second, third, said, after))) <= LONGEST:
                found.append(Piece((first, second, third), said, after))
    random.Random(seed).shuffle(found)
    yield from found
