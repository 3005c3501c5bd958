"""The facts that the indices over words know: months and years of a span of time, and how they are quoted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from memory.index import Fact, months, to_fts5, to_tsquery
from tests.memory.parts import NOON

MOMENTS = st.datetimes(datetime(1990, 1, 2), datetime(2026, 12, 1), timezones=st.just(UTC))


def holds(facts: list[Fact], moment: datetime) -> bool:
    utc = moment.astimezone(UTC)
    return Fact("m", f"{utc:%Y%m}") in facts or Fact("y", f"{utc:%Y}") in facts


@given(MOMENTS, MOMENTS, MOMENTS, st.integers(-14, 14))
def test_every_moment_of_a_span_is_held(one: datetime, other: datetime, third: datetime, zone: int) -> None:
    since, inside, until = sorted((one, other, third))
    elsewhere = timezone(timedelta(hours=zone))
    for facts in (
        months(since.astimezone(elsewhere), until.astimezone(elsewhere), NOON),
        months(since, None, NOON),
        months(None, until, NOON),
    ):
        assert holds(facts, inside)
        assert len(facts) < 70
    assert months(None, None, NOON) == []


@given(MOMENTS, MOMENTS)
def test_a_span_holds_no_month_that_it_does_not_touch(one: datetime, other: datetime) -> None:
    since, until = sorted((one, other))
    facts = months(since, until, NOON)
    assert not holds(facts, since.replace(day=1) - timedelta(days=1))
    assert not holds(facts, until.replace(day=28) + timedelta(days=4))


def test_facts_are_quoted_as_each_index_has_them() -> None:
    facts = [[Fact("s", "O'Ash \\ 灯")], [Fact("m", "202605"), Fact("y", "2025")]]
    assert to_tsquery(None, facts) == "('@sO''Ash \\\\ 灯') & ('@m202605' | '@y2025')"
    speaker = "O'Ash \\ 灯".encode().hex()
    assert to_fts5(None, facts) == f"{{facts}}: (s{speaker}) AND {{facts}}: (m202605 OR y2025)"
