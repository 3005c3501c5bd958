"""When lines come, where nobody asked for them: like people's talk, in bursts that die away by themselves.

A line brings forth others: `branching` of them on average, each after a pause of `pause_s` on average. That
is a Hawkes process, seen as a family tree. With a branching ratio below 1 every tree ends; at 0.6 it has 2.5
lines on average, and one in 250 has more than 20. Pure: all is drawn from `rng`.
"""

from __future__ import annotations

import heapq
import math
from itertools import pairwise
from random import Random

from selves.errors import UsageError

LONGEST = 4
"""No pause is longer than this many times the average."""


def pauses(rng: Random, *, branching: float, pause_s: float, most: int) -> list[float]:
    """Return the seconds of silence before each line of a talk, the first 0; as many as it has lines.

    With `branching` 0 there are `most` lines, else as many as the tree has, `most` at most. Raises UsageError
    for a branching ratio of 1 or more, with which talk would never end.
    """
    if not 0 <= branching < 1:
        raise UsageError(
            f"a branching ratio of {branching} is talk that never ends", "choose one from 0 to 0.9"
        )
    if not branching:
        return [0.0, *(_pause(rng, pause_s) for _ in range(most - 1))]
    times: list[float] = []
    coming = [0.0]
    while coming and len(times) < most:
        at = heapq.heappop(coming)
        times.append(at)
        for _ in range(poisson(rng, branching)):
            heapq.heappush(coming, at + _pause(rng, pause_s))
    # a sum of moments is rounded, and so may its difference be, to a hair more than was drawn
    return [0.0, *(min(b - a, LONGEST * pause_s) for a, b in pairwise(times))]


def poisson(rng: Random, mean: float) -> int:
    """Draw how often something happens that happens `mean` times on average (Knuth; for small means)."""
    limit, count, product = math.exp(-mean), 0, rng.random()
    while product > limit:
        count, product = count + 1, product * rng.random()
    return count


def _pause(rng: Random, pause_s: float) -> float:
    return min(rng.expovariate(1 / pause_s), LONGEST * pause_s) if pause_s else 0.0
