"""Cheap figures about samples (pure): how much one repeats itself, is copied, or says what was said before.

    zlib      how many times smaller zlib makes it; babble is 1 or less, talk 1 to 2, loops above 2.4
    repeats   share of its runs of four words that stood in it before; loops have more than 0.4
    copied    share of its runs of 40 characters that stand in given files; learned by heart is 1
    novelty   share of its runs of three words that its lineage had never said before
    surprise  bits per byte under a neighbouring age (`selves memory surprise`, which needs an engine)

None of them says that a text is interesting. Hide loops, copies and duplicates first, then sort.
"""

from __future__ import annotations

import re
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, get_args

from memory.query import plain_words
from selves.errors import UsageError

Name = Literal["zlib", "repeats", "copied", "novelty", "surprise"]
NAMES: tuple[Name, ...] = get_args(Name)
LESS_IS_BETTER = frozenset({"zlib", "repeats", "copied"})

REPEATED_WORDS = 4
WINDOW = 40
NEW_WORDS = 3

_BASE = 0x100000001B3
_PRIME = (1 << 61) - 1
_BOUND = re.compile(r"\s*([a-z]+)\s*(<=|>=)\s*(-?[0-9.]+)\s*")


@dataclass(frozen=True, slots=True)
class Bound:
    """A filter by a score: at least, or at most, so much."""

    name: Name
    least: bool
    value: float

    @classmethod
    def read(cls, text: str) -> Bound:
        """Read `copied<=0.2`. Raises UsageError for anything else."""
        found = _BOUND.fullmatch(text)
        try:
            if found is None or found[1] not in NAMES:
                raise ValueError
            return cls(found[1], found[2] == ">=", float(found[3]))
        except ValueError:
            raise UsageError(
                f"{text!r} is no bound on a score",
                f"write it like copied<=0.2 or novelty>=0.5; there are {', '.join(NAMES)}",
            ) from None


def compression(text: str) -> float:
    """Return how many times smaller zlib makes a text; 1 for none."""
    data = text.encode("utf-8", "surrogatepass")
    return len(data) / len(zlib.compress(data)) if data else 1.0


def repeats(text: str) -> float:
    """Return the share of a text's runs of four words that stood in it before."""
    runs = list(_runs(text, REPEATED_WORDS))
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


class Seen:
    """A set of hashes that may, rarely, take one for another: it has at least 16 bits for each that it is
    made for, and when it holds so many, takes about one in 200 others for one of them.
    """

    def __init__(self, expected: int) -> None:
        self._mask = (1 << max(16, (expected * 16).bit_length())) - 1
        self._bits = bytearray((self._mask + 1) // 8)

    def add(self, value: int) -> None:
        """Put a 61-bit hash in."""
        for place in self._places(value):
            self._bits[place >> 3] |= 1 << (place & 7)

    def __contains__(self, value: int) -> bool:
        return all(self._bits[place >> 3] >> (place & 7) & 1 for place in self._places(value))

    def _places(self, value: int) -> tuple[int, int, int]:
        mixed = value * _BASE
        return value & self._mask, (mixed >> 20) & self._mask, (mixed >> 50) & self._mask


def learn(seen: Seen, pieces: Iterable[str]) -> None:
    """Put every run of 40 characters of a long text in, which comes in pieces; white space counts as one."""
    for value in _windows(_squeezed(pieces)):
        seen.add(value)


def copied(text: str, seen: Seen) -> float:
    """Return the share of a text's runs of 40 characters that were learned; 0 for a shorter text."""
    found = [value in seen for value in _windows(_squeezed([text.strip()]))]
    return sum(found) / len(found) if found else 0.0


def novelty(text: str, said: Seen) -> float:
    """Return the share of a text's runs of three words that were not said; 1 for a shorter text."""
    runs = [_hash(run) not in said for run in _runs(text, NEW_WORDS)]
    return sum(runs) / len(runs) if runs else 1.0


def say(text: str, said: Seen) -> None:
    """Put a text's runs of three words into what was said."""
    for run in _runs(text, NEW_WORDS):
        said.add(_hash(run))


def _runs(text: str, length: int) -> Iterator[tuple[str, ...]]:
    words = plain_words(text)
    return zip(*(words[i:] for i in range(length)), strict=False)


def _hash(run: tuple[str, ...]) -> int:
    return int.from_bytes(blake2b(" ".join(run).encode(), digest_size=8).digest(), "big") & _PRIME


def _squeezed(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the characters of a text with every run of white space as one space."""
    space = False
    for piece in pieces:
        for letter in piece:
            if not letter.isspace():
                space = False
                yield letter
            elif not space:
                space = True
                yield " "


def _windows(letters: Iterable[str]) -> Iterator[int]:
    """Yield a hash of every run of 40 characters, each from the one before."""
    leaving = pow(_BASE, WINDOW, _PRIME)
    inside: deque[int] = deque()
    value = 0
    for letter in letters:
        code = ord(letter) + 1
        inside.append(code)
        value = (value * _BASE + code) % _PRIME
        if len(inside) > WINDOW:
            value = (value - inside.popleft() * leaving) % _PRIME
        if len(inside) == WINDOW:
            yield value
