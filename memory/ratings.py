"""How ages compare by people's votes between them: Bradley-Terry strengths with intervals (pure).

The model says that the first of two ages wins a vote with probability 1 / (1 + exp(second - first)). Every
age is also given one drawn vote against an average one, so that an age that never lost has a finite rating,
and ages that nobody compared stay comparable through their wide intervals.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from memory.preference import Opinion

POINTS = 400 / math.log(10)
"""Ratings are told as in chess: 400 points are odds of ten to one."""
NORMAL_95 = 1.959964
_ENOUGH = 1e-10


class Contest(NamedTuple):
    """One vote between two ages; a draw counts half for each."""

    first: str
    second: str
    first_won: float
    """1, 0, or 0.5."""


@dataclass(frozen=True, slots=True)
class Rating:
    """How strong an age is, in points around an average of 0."""

    age: str
    points: float
    low: float
    high: float
    """`low` to `high` is the 95 % interval."""
    votes: int
    won: float
    """Draws count half."""


def contests(votes: Iterable[Opinion], ages: Mapping[int, str]) -> list[Contest]:
    """Return the votes between two different ages; `ages` says which age each sample comes from."""
    worth = {"first": 1.0, "second": 0.0, "both": 0.5, "neither": 0.5}
    return [
        Contest(ages[vote.generation_id], ages[vote.other_id], worth[vote.value])
        for vote in votes
        if vote.kind == "vote"
        and vote.other_id is not None
        and vote.value in worth
        and vote.generation_id in ages
        and vote.other_id in ages
        and ages[vote.generation_id] != ages[vote.other_id]
    ]


def shown_first_won(votes: Iterable[Opinion]) -> tuple[int, int]:
    """Return how often what was shown first won, of how many decided votes: far from a half is a bias."""
    won = decided = 0
    for vote in votes:
        if vote.kind == "vote" and vote.value in ("first", "second") and vote.shown_first is not None:
            winner = vote.generation_id if vote.value == "first" else vote.other_id
            decided += 1
            won += winner == vote.shown_first
    return won, decided


def bradley_terry(contests: Iterable[Contest]) -> list[Rating]:
    """Return the ages of `contests`, the strongest first. The order of the contests changes nothing."""
    played: defaultdict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    votes: defaultdict[str, int] = defaultdict(int)
    won: defaultdict[str, float] = defaultdict(float)
    for contest in contests:
        first, second, share = contest
        if first > second:
            first, second, share = second, first, 1 - share
        played[first, second][0] += share
        played[first, second][1] += 1
        for age, its in ((first, share), (second, 1 - share)):
            votes[age] += 1
            won[age] += its
    ages = sorted(votes)
    index = {age: number for number, age in enumerate(ages)}
    games = sorted((index[a], index[b], wins, total) for (a, b), (wins, total) in played.items())
    strengths = [0.0] * len(ages)
    gradient, curvature = _likelihood(strengths, games)
    # Newton's steps: the likelihood is concave, and a step that is too long is shortened
    for _ in range(100):
        step = _solve(_factor(curvature), gradient)
        longest = max(map(abs, step), default=0.0)
        scale = min(1.0, 2.0 / longest) if longest else 0.0
        strengths = [s + scale * d for s, d in zip(strengths, step, strict=True)]
        gradient, curvature = _likelihood(strengths, games)
        if longest < _ENOUGH:
            break
    mean = math.fsum(strengths) / len(strengths) if strengths else 0.0
    ratings, factor = [], _factor(curvature)
    for number, age in enumerate(ages):
        # of how far it is from the average: that all of them may be stronger is nobody's question
        apart = [float(number == other) - 1 / len(ages) for other in range(len(ages))]
        variance = math.fsum(a * b for a, b in zip(apart, _solve(factor, apart), strict=True))
        width = NORMAL_95 * math.sqrt(variance) * POINTS
        points = (strengths[number] - mean) * POINTS
        ratings.append(Rating(age, points, points - width, points + width, votes[age], won[age]))
    return sorted(ratings, key=lambda rating: (-rating.points, rating.age))


def _likelihood(
    strengths: list[float], games: Iterable[tuple[int, int, float, float]]
) -> tuple[list[float], list[list[float]]]:
    """Return the gradient of the log-likelihood and minus its second derivative."""
    n = len(strengths)
    gradient = [0.0] * n
    curvature = [[0.0] * n for _ in range(n)]
    for number, strength in enumerate(strengths):  # the drawn vote against an average age
        expected = _logistic(strength)
        gradient[number] += 0.5 - expected
        curvature[number][number] += expected * (1 - expected)
    for a, b, wins, total in games:
        expected = _logistic(strengths[a] - strengths[b])
        surplus, weight = wins - total * expected, total * expected * (1 - expected)
        gradient[a] += surplus
        gradient[b] -= surplus
        curvature[a][a] += weight
        curvature[b][b] += weight
        curvature[a][b] -= weight
        curvature[b][a] -= weight
    return gradient, curvature


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _factor(matrix: list[list[float]]) -> list[list[float]]:
    """Return the lower Cholesky factor of a symmetric, positive definite matrix."""
    n = len(matrix)
    lower = [[0.0] * n for _ in range(n)]
    for i in range(n):
        for j in range(i + 1):
            rest = matrix[i][j] - math.fsum(lower[i][k] * lower[j][k] for k in range(j))
            lower[i][j] = math.sqrt(rest) if i == j else rest / lower[j][j]
    return lower


def _solve(lower: list[list[float]], right: list[float]) -> list[float]:
    """Solve the linear system whose matrix has this Cholesky factor."""
    n = len(right)
    solved = [0.0] * n
    for i in range(n):
        solved[i] = (right[i] - math.fsum(lower[i][k] * solved[k] for k in range(i))) / lower[i][i]
    for i in reversed(range(n)):
        solved[i] = (solved[i] - math.fsum(lower[k][i] * solved[k] for k in range(i + 1, n))) / lower[i][i]
    return solved
