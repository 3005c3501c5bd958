"""How long things took: medians and 95 %, the same for all systems. Only the standard library; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

FEW = 20
"""Results that a search shows."""
QUERIES = 100
KINDS = ("common", "rare", "two common", "common and rare")
"""Of queries: one word that is in a tenth of all lines, one that is in a hundred or so, two of them."""


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Return the median and what 95 % stay within, in milliseconds, and how many were measured."""
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(1000 * ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)], 3)

    return {"p50_ms": at(0.5), "p95_ms": at(0.95), "times": len(ordered)}


def queries(words: Mapping[int, str] | Sequence[str], times: int) -> dict[str, list[str]]:
    """Return `times` queries of each kind; `words` are in order of frequency. None is asked twice."""
    common = [words[4 + number % 50] for number in range(times)]
    rare = [words[8000 + 400 * (number % 100)] for number in range(times)]
    return {
        "common": common[:50],
        "rare": rare,
        "two common": [f"{one} {common[(number + 7) % 50]}" for number, one in enumerate(common[:50])],
        "common and rare": [f"{one} {other}" for one, other in zip(common, rare, strict=True)],
    }
