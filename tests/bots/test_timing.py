"""Bursts that die away, hours of quiet, and pairs that rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bots.quiet import EXCHANGES, REST, Spoken, is_quiet, resting_with
from bots.timing import LONGEST, pauses
from selves.errors import UsageError

NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)


def test_chatter_comes_in_bursts_that_die_by_themselves() -> None:
    """At a branching ratio of 0.6: 2.5 lines on average, and more than 20 once in 250 times."""
    dice = Random(7)
    sizes = [len(pauses(dice, branching=0.6, pause_s=20, most=500)) for _ in range(20_000)]
    assert sum(sizes) / len(sizes) == pytest.approx(2.5, abs=0.1)
    assert sum(size > 20 for size in sizes) / len(sizes) == pytest.approx(0.004, abs=0.002)


@given(st.integers(), st.floats(0, 0.95), st.floats(0, 60), st.integers(1, 50))
@example(2233797, 0.375, 3.0, 10)
def test_pauses_are_as_many_as_lines_and_none_is_endless(
    seed: int, branching: float, pause_s: float, most: int
) -> None:
    drawn = pauses(Random(seed), branching=branching, pause_s=pause_s, most=most)
    assert 1 <= len(drawn) <= most
    assert branching or len(drawn) == most
    assert drawn[0] == 0
    assert all(0 <= pause <= LONGEST * pause_s for pause in drawn)


def test_talk_that_would_never_end_is_refused() -> None:
    with pytest.raises(UsageError, match="never ends"):
        pauses(Random(0), branching=1.0, pause_s=1, most=10)


@pytest.mark.parametrize(
    ("time", "spans", "quiet"),
    [
        ("23:30", ["22:00-08:00"], True),
        ("07:59", ["22:00-08:00"], True),
        ("08:00", ["22:00-08:00"], False),
        ("12:00", ["22:00-08:00"], False),
        ("12:30", ["22:00-08:00", "12:00-13:00"], True),
        ("03:00", ["00:00-00:00"], True),
        ("12:00", [], False),
    ],
)
def test_quiet_hours_may_go_over_midnight(time: str, spans: list[str], quiet: bool) -> None:
    assert is_quiet(datetime.strptime(time, "%H:%M").replace(tzinfo=UTC), spans) == quiet


def alternating(count: int, seconds: float) -> list[Spoken]:
    return [Spoken(("Ash", "Ember")[n % 2], NOON + timedelta(seconds=n * seconds)) for n in range(count)]


def test_two_who_alternate_too_fast_rest_and_then_may_go_on() -> None:
    talk = alternating(EXCHANGES + 1, 5)
    assert resting_with("Ash", talk, talk[-1].at) == {"Ember"}
    assert resting_with("Ember", talk, talk[-1].at) == {"Ash"}
    assert resting_with("Spark", talk, talk[-1].at) == set()
    assert resting_with("Ash", talk, talk[-1].at + REST) == set()


def test_a_slow_talk_and_a_few_quick_words_are_nobody_s_trouble() -> None:
    assert resting_with("Ash", alternating(40, 15), NOON + timedelta(minutes=10)) == set()
    assert resting_with("Ash", alternating(EXCHANGES, 1), NOON + timedelta(seconds=9)) == set()
