"""Which side of a split a sample is on, and which prompts are nearly the same (pure).

A split is by scene, never by row: what a self is asked in one scene repeats itself from turn to turn. And
since scenes repeat each other too (the same premise every evening), a test prompt that is nearly the same as
one to train on is left out of the test.

Nearly the same is measured on runs of three words: their hashes are dealt into bins, the least of each bin
makes a sketch, and two prompts meet if a quarter of their sketches is equal. Prompts that share nine of
ten runs meet nearly always, those that share half do so one time in four.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Literal
from zlib import crc32

Split = Literal["train", "test"]

RUN = 3
BINS = 16
BANDS = 4
_WORDS = re.compile(r"\w+")


def split_of(group: str, test_share: float) -> Split:
    """Return on which side a group of rows is; it stays there in every export with the same share."""
    place = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64
    return "test" if place < test_share else "train"


def bands(text: str) -> tuple[str, ...]:
    """Return the parts of a text's sketch; texts that share one are nearly the same.

    Texts that are too short for a sketch meet only if they have the same words.
    """
    words = _WORDS.findall(text.casefold())
    if len(words) < BINS + RUN:
        return (" ".join(words),)
    least = [2**32] * BINS
    for start in range(len(words) - RUN + 1):
        number = crc32(" ".join(words[start : start + RUN]).encode("utf-8", "surrogatepass"))
        if number < least[number % BINS]:
            least[number % BINS] = number
    # an empty bin borrows from the next one, so that it does not make all short texts alike
    filled = [
        next(
            least[(place + further) % BINS]
            for further in range(BINS)
            if least[(place + further) % BINS] < 2**32
        )
        for place in range(BINS)
    ]
    size = BINS // BANDS
    return tuple(
        f"{band}:{','.join(map(str, filled[band * size : (band + 1) * size]))}" for band in range(BANDS)
    )


class Seen:
    """The texts seen so far, as sketches."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._bands: set[int] = set()
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        self._bands.update(map(_short, bands(text)))

    def has_like(self, text: str) -> bool:
        """Whether something nearly the same was added."""
        return any(_short(band) in self._bands for band in bands(text))


def _short(band: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(band.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )
