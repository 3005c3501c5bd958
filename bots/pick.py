"""Which of several samples becomes the line: a cheap, pure judgement, the same every time.

Very small models say one good thing in three. So those that speak fast are asked more than once, and the
sample that sounds most like an answer is posted; the others are kept as candidates.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from serving.voice import ModelInfo

SMALL = 50_000_000
"""Models with fewer parameters answer fast enough to be asked several times."""
SAMPLES = 3
HEARD = 3
"""How many of the last lines a good answer may take up."""
FEW_WORDS = 3


def samples_for(info: ModelInfo) -> int:
    """How many samples to draw for one line."""
    return SAMPLES if info.parameters is not None and info.parameters < SMALL else 1


def score(text: str, mean_logprob: float | None, heard: Sequence[str]) -> float:
    """Return how much a line sounds like an answer to what was `heard` last; higher is better.

    Its own model's mean log-probability (nats per token), plus half a nat for each of up to two words that it
    takes up, half a nat for a whole sentence, less half a nat for hardly saying anything.
    """
    words = re.findall(r"\w+", text)
    taken_up = _telling(text) & {word for line in heard[-HEARD:] for word in _telling(line)}
    return (
        (mean_logprob or 0.0)
        + 0.5 * min(2, len(taken_up))
        + 0.5 * bool(re.search(r"[.!?…][\"'”’)]*$", text))
        - 0.5 * (len(words) < FEW_WORDS)
    )


def _telling(text: str) -> set[str]:
    """Words long enough to be about something."""
    return {word for word in re.findall(r"[^\W\d_]{4,}", text.casefold()) if word not in _COMMON}


# fmt: off
_COMMON = frozenset((
    "about", "also", "because", "been", "could", "does", "doing", "don", "going", "good", "have",
    "haha", "hello", "here", "into", "just", "know", "like", "make", "more", "much", "need", "only",
    "other", "really", "said", "some", "that", "them", "then", "there", "they", "thing", "think",
    "this", "very", "want", "well", "were", "what", "when", "where", "which", "will", "with",
    "would", "yeah", "your",
))
# fmt: on
