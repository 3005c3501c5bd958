"""A new self stays only if what was asked of the one before was asked of it, and is not worse."""

from __future__ import annotations

import math

import pytest

from selves.errors import TrainingError
from training.post.figures import Figure
from training.post.gate import compare


def share(name: str, value: float, spread: float = 0.05) -> Figure:
    return Figure(name=name, value=value, low=value - spread, high=value + spread, n=100, share=True)


def test_a_share_may_fall_within_its_interval_or_the_margin_but_be_a_number() -> None:
    before = [share("a", 0.8), share("b", 0.8), share("c", 0.8), share("d", 0.8)]
    after = [share("d", math.nan), share("c", 0.7), share("b", 0.76), share("a", 0.9)]
    assert [one.broken for one in compare(before, after, 0.05)] == [False, False, True, True]


def test_what_could_not_be_asked_again_lets_nobody_stay() -> None:
    with pytest.raises(TrainingError, match="b could be measured of both"):
        compare([share("a", 1.0), share("b", 1.0)], [share("a", 1.0)], 0.05)
    with pytest.raises(TrainingError, match="nothing could be measured"):
        compare([], [share("a", 1.0)], 0.05)
