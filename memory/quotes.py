"""Finding out who repeats somebody's words (pure): so many characters in a row, whatever their case."""

from __future__ import annotations

from collections.abc import Iterable

QUOTE = 40
"""So many characters of somebody's in a row are a quotation."""
BLOCK = 20
SAID_STEP, TEXT_STEP = 4, 5
"""What somebody said is remembered in blocks that begin at every fourth character; in a text every fifth is
looked at. These steps have no common divisor and together fit into QUOTE - BLOCK, so whatever is shared by
both has a block that begins at a step of either."""


def plain(text: str) -> str:
    """Return a text as it is compared: in one case, with single spaces."""
    return " ".join(text.casefold().split())


class Quotes:
    """What somebody said, ready to be looked for in what others said.

    The cost of looking is that of reading the text once, however much was said.
    """

    def __init__(self, said: Iterable[str]) -> None:
        # what is too short to be quoted needs no looking for
        self._said = [text for text in dict.fromkeys(map(plain, said)) if len(text) >= QUOTE]
        self._blocks: dict[str, list[tuple[int, int]]] = {}
        for number, text in enumerate(self._said):
            for start in range(0, len(text) - BLOCK + 1, SAID_STEP):
                self._blocks.setdefault(text[start : start + BLOCK], []).append((number, start))
        self._clean: set[int] = set()
        """Hashes of texts that do not quote: a line is often word for word its sample."""

    def __bool__(self) -> bool:
        return bool(self._said)

    def are_in(self, text: str) -> bool:
        """Return whether `text` quotes."""
        if len(text) < QUOTE or not self._said or hash(text) in self._clean:
            return False
        other = plain(text)
        blocks = self._blocks
        for start in range(0, len(other) - BLOCK + 1, TEXT_STEP):
            places = blocks.get(other[start : start + BLOCK])
            if places and any(_common(self._said[n], at, other, start) >= QUOTE for n, at in places):
                return True
        self._clean.add(hash(text))
        return False


def _common(one: str, at: int, other: str, start: int) -> int:
    """How long a stretch two texts share around one place in each; counted no further than needed."""
    before = 0
    while before < min(at, start, QUOTE) and one[at - before - 1] == other[start - before - 1]:
        before += 1
    after = 0
    most = min(len(one) - at, len(other) - start, QUOTE)
    while after < most and one[at + after] == other[start + after]:
        after += 1
    return before + after
