"""How a text is written (pure): worn words and turns of phrase, variety, going in circles.

The lists are short and the house's own; whoever edits a journal could write them. A text is not bad because a
word of them is in it: what counts is how many there are in a thousand.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORN = """
delve delves delving tapestry testament beacon realm realms embark embarking journey landscape intricate
vibrant bustling nestled whispers whispering shimmering ethereal unwavering pivotal crucial multifaceted
transformative profound profoundly seamlessly boundless timeless captivating mesmerizing enigmatic
kaleidoscope symphony labyrinth resilience embrace embraces unlock unleash elevate foster fosters harness
myriad plethora nuanced holistic empower empowers empowering innovative invaluable
"""
WORN = frozenset(_WORN.split())
TURNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\bnot (?:just|only|merely|simply)\b[^.!?]{1,60}?\bbut\b",
        r"\b(?:is|was|are)(?:n't| not) (?:just|about|merely)\b[^.!?]{1,60}?[,;.] (?:it|they)\b",
        r"\ba testament to\b",
        r"\bit(?:'s| is) important to (?:note|remember|consider)\b",
        r"\bin (?:conclusion|summary|today's (?:fast-paced )?world)\b",
        r"\brich (?:tapestry|history|heritage)\b",
        r"\bserves? as a\b",
        r"\bas an? (?:AI|artificial intelligence|language model|assistant)\b",
        r"\bcan be a (?:great|powerful|wonderful) way\b",
        r"\bplays? an? (?:crucial|vital|important|significant) role\b",
        r"\bi(?:'m| am) here to help\b",
        r"\ba sense of\b",
    )
)
WINDOW = 25
"""Words: how wide the window of `variety` is."""


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def worn(text: str) -> int:
    """Return how many worn words and turns are in a text."""
    return sum(word in WORN for word in words(text)) + sum(len(turn.findall(text)) for turn in TURNS)


def slop(text: str) -> float:
    """Return worn words and turns per thousand words; 0 for a text without words."""
    return 1000 * worn(text) / max(1, len(words(text)))


def variety(text: str, window: int = WINDOW) -> float | None:
    """Return the moving-average type-token ratio (Covington and McFall 2010); None below ten words."""
    found = words(text)
    if len(found) < 10:
        return None
    size = min(window, len(found))
    spans = [found[at : at + size] for at in range(len(found) - size + 1)]
    return sum(len(set(span)) / size for span in spans) / len(spans)


def circles(text: str, size: int = 4) -> float | None:
    """Return the share of runs of `size` words that were there before; None for a text without one."""
    found = words(text)
    runs = [tuple(found[at : at + size]) for at in range(len(found) - size + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else None


def copied(text: str, known: Sequence[str], size: int = 40) -> bool:
    """Return whether `size` characters in a row stand in a known text, or a whole known text in it."""
    plain = " ".join(text.split())
    pieces = {plain[at : at + size] for at in range(len(plain) - size + 1)}
    return any(one in plain or any(piece in one for piece in pieces) for one in known if one)
