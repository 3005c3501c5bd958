"""How long things took: medians and 95 %, the same for all systems. Only the standard library; pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

FEW = 20
"""Results that a search shows."""
COMMON, RARE = range(4, 54), range(8000, 48_000, 400)
"""Ranks of words: of a million lines a common one is in 30,000 to 190,000, a rare one in 30 to 200."""


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Return the median and what 95 % stay within, in milliseconds, and how many were measured."""
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(1000 * ordered[math.ceil(share * len(ordered)) - 1], 3)

    return {"p50_ms": at(0.5), "p95_ms": at(0.95), "times": len(ordered)}


def queries(word: Callable[[int], str]) -> dict[str, list[str]]:
    """Return queries of each kind; none comes twice."""
    common, rare = [word(rank) for rank in COMMON], [word(rank) for rank in RARE]
    return {
        "a common word": common,
        "a rare word": rare,
        "two common words": [f"{one} {common[place - 7]}" for place, one in enumerate(common)],
        "a common and a rare word": [
            f"{common[place % len(common)]} {other}" for place, other in enumerate(rare)
        ],
    }
