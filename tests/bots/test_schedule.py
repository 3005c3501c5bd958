"""When scenes are played: cron as cron has it, in the schedule's own zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bots.schedule import (
    MOST_MISSED,
    Occurrence,
    Timetable,
    key_prefix,
    missed,
    occurrences,
    upcoming,
)
from memory.store import Store
from selves.cast import Cast, Schedule
from selves.errors import ConfigError

SUNDAY = datetime(2026, 3, 1, tzinfo=UTC)


def schedule(cron: str, timezone: str = "UTC", scene: str = "meeting") -> Schedule:
    return Schedule(scene=scene, cron=cron, timezone=timezone, channel=1)


def days(cron: str, count: int = 7) -> list[str]:
    """The weekdays of the next moments, from the first second of a Sunday."""
    moments = islice(occurrences(schedule(cron), SUNDAY - timedelta(seconds=1)), count)
    return [f"{moment:%a}" for moment in moments]


@pytest.mark.parametrize(
    ("weekday", "expected"),
    [
        ("0", ["Sun"] * 7),
        ("7", ["Sun"] * 7),
        ("1-5", ["Mon", "Tue", "Wed", "Thu", "Fri", "Mon", "Tue"]),
        ("mon-fri", ["Mon", "Tue", "Wed", "Thu", "Fri", "Mon", "Tue"]),
        ("5-7", ["Sun", "Fri", "Sat", "Sun", "Fri", "Sat", "Sun"]),
        ("sat-mon", ["Sun", "Mon", "Sat", "Sun", "Mon", "Sat", "Sun"]),
        ("*/2", ["Sun", "Tue", "Thu", "Sat", "Sun", "Tue", "Thu"]),
        ("1,WED", ["Mon", "Wed", "Mon", "Wed", "Mon", "Wed", "Mon"]),
        ("*", ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]),
    ],
)
def test_weekdays_are_counted_as_cron_does(weekday: str, expected: list[str]) -> None:
    assert days(f"0 12 * * {weekday}") == expected


def test_with_a_day_and_a_weekday_either_is_enough() -> None:
    moments = islice(occurrences(schedule("0 12 10 * mon"), SUNDAY), 3)
    assert [m.day for m in moments] == [2, 9, 10]


def test_a_schedule_keeps_its_own_time_through_summer_time() -> None:
    berlin = schedule("30 20 * * *", "Europe/Berlin")
    around = list(islice(occurrences(berlin, datetime(2026, 3, 28, tzinfo=UTC)), 2))
    assert [f"{m:%H:%M}" for m in around] == ["20:30", "20:30"]
    assert [m.astimezone(UTC).hour for m in around] == [19, 18]


def test_the_same_moment_has_the_same_key_in_every_zone() -> None:
    at = datetime(2026, 3, 1, 20, tzinfo=UTC)
    assert (
        Occurrence(at, schedule("* * * * *")).key
        == Occurrence(at.astimezone(ZoneInfo("Asia/Tokyo")), schedule("* * * * *")).key
    )


def test_schedules_are_shown_together_soonest_first() -> None:
    both = [schedule("0 12 * * *"), schedule("0 6,18 * * *", scene="letters")]
    found = upcoming(both, SUNDAY, 4)
    assert [(o.at.day, o.at.hour, o.schedule.scene) for o in found] == [
        (1, 6, "letters"),
        (1, 12, "meeting"),
        (1, 18, "letters"),
        (2, 6, "letters"),
    ]


@pytest.mark.parametrize("cron", ["* * * *", "61 * * * *", "0 12 * * someday", "0 12 * * 8", "0 0 0 * *"])
def test_a_wrong_cron_is_named_with_its_scene(cron: str) -> None:
    with pytest.raises(ConfigError, match="scene 'meeting'"):
        upcoming([schedule(cron)], SUNDAY, 1)


def test_a_moment_that_never_comes_does_not_come() -> None:
    assert upcoming([schedule("0 0 30 2 *")], SUNDAY, 3) == []


@pytest.mark.parametrize("cron", ["* * * * *", "0 * * * *", "0 20 * * *", "0 0 1 * *", "0 0 1 1 *"])
def test_the_newest_missed_moment_is_found_however_rare(cron: str) -> None:
    now = datetime(2026, 7, 15, 13, 37, 30, tzinfo=UTC)
    [found] = missed(schedule(cron), now - timedelta(days=300), now)
    assert found <= now < next(occurrences(schedule(cron), found))
    assert missed(schedule(cron), found, now) == []


@given(
    st.integers(0, 59),
    st.integers(0, 23),
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kolkata"]),
)
def test_moments_only_go_forward(minute: int, hour: int, after: datetime, zone: str) -> None:
    start = after.replace(tzinfo=UTC)
    moments = list(islice(occurrences(schedule(f"{minute} {hour} * * *", zone), start), 4))
    assert all(a < b for a, b in zip([start, *moments], moments, strict=False))


def rhythm(**kind: Any) -> Schedule:
    return Schedule.model_validate({"scene": "meeting", "channel": 1, **kind})


def test_an_interval_is_counted_from_the_same_midnight_everywhere() -> None:
    every = rhythm(every_minutes=90)
    late = datetime(2026, 3, 1, 13, 5, tzinfo=ZoneInfo("Asia/Tokyo"))
    assert [f"{m:%H:%M}" for m in islice(occurrences(every, late), 3)] == ["04:30", "06:00", "07:30"]


@given(st.floats(1, 720), st.floats(0.1, 720), st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)))
def test_jitter_delays_each_moment_by_the_same_dice_every_time(
    minutes: float, jitter: float, when: datetime
) -> None:
    after = when.replace(tzinfo=UTC)
    exact, late = rhythm(every_minutes=minutes), rhythm(every_minutes=minutes, jitter_minutes=jitter)
    found = list(islice(occurrences(late, after), 5))
    assert found == sorted(found)
    assert found == list(islice(occurrences(late, after), 5))
    assert list(islice(occurrences(late, found[1]), 3)) == found[2:]
    for at in found:
        before = next(occurrences(exact, at - timedelta(minutes=jitter, seconds=1)))
        assert before <= at


def test_chance_has_its_average_and_the_same_moments_for_every_process() -> None:
    chatter = rhythm(per_day=6)
    month = [m for m in islice(occurrences(chatter, SUNDAY), 400) if m < SUNDAY + timedelta(days=30)]
    assert 150 < len(month) < 210
    assert len({m.hour for m in month}) == 24
    later = SUNDAY + timedelta(days=3, hours=7)
    assert [m for m in month if m > later][:20] == list(islice(occurrences(chatter, later), 20))


def test_nothing_is_begun_in_quiet_hours() -> None:
    night = rhythm(cron="0 * * * *", timezone="Europe/Berlin", quiet=["20:00-07:00"])
    hours = {m.hour for m in islice(occurrences(night, SUNDAY), 50)}
    assert hours == set(range(7, 20))
    assert upcoming([rhythm(cron="0 3 * * *", quiet=["00:00-06:00"])], SUNDAY, 1) == []


def test_all_that_was_missed_is_the_newest_twenty() -> None:
    hourly = rhythm(cron="0 * * * *")
    found = missed(hourly, SUNDAY, SUNDAY + timedelta(days=40), MOST_MISSED)
    assert len(found) == MOST_MISSED
    assert found[-1] == SUNDAY + timedelta(days=40)
    assert missed(hourly, SUNDAY, SUNDAY + timedelta(hours=2, minutes=1), MOST_MISSED) == [
        SUNDAY + timedelta(hours=1),
        SUNDAY + timedelta(hours=2),
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "one of `cron`"),
        ({"cron": "0 * * * *", "per_day": 3}, "one of `cron`"),
        ({"every_minutes": 0.1}, "at least 1"),
        ({"per_day": 1, "quiet": ["22-8"]}, "22:00-08:00"),
    ],
)
def test_a_schedule_has_one_rhythm(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        rhythm(**wrong)


# ---------------------------------------------------------------- the timetable, over restarts


async def awake_at(store: Store, schedule: Schedule, now: datetime) -> list[str]:
    """The hours of what is played when a timetable starts at a moment, and is begun in the database."""
    persona = {"name": "Ash", "address": "tiny@base-000000"}
    scene = {"name": "meeting", "kind": "dream", "cast": ["Ash"]}
    cast = Cast.model_validate({"persona": [persona], "scene": [scene], "schedule": [schedule.model_dump()]})
    asked: list[str] = []
    timetable = Timetable(cast, store, lambda _, __, key: asked.append(key), lambda: now)
    await timetable.start()
    timetable.stop()
    for key in asked:
        await store.begin_scene(cast.scene[0], place="discord:1", key=key)
    return [f"{datetime.fromisoformat(key.removeprefix(key_prefix(schedule))):%H:%M}" for key in asked]


async def test_what_was_due_when_a_process_died_is_played_by_the_next(store: Store) -> None:
    hourly = rhythm(cron="0 * * * *")
    noon = SUNDAY + timedelta(hours=12)
    assert await awake_at(store, hourly, noon) == [], "a new schedule has missed nothing"
    assert await awake_at(store, hourly, noon + timedelta(minutes=62)) == ["13:00"]
    assert await awake_at(store, hourly, noon + timedelta(minutes=63)) == [], "each one is played once"
    assert await awake_at(store, hourly, noon + timedelta(minutes=150)) == [], "14:00 is too long ago"


async def test_all_that_was_missed_is_played_if_the_schedule_says_so(store: Store) -> None:
    hourly = rhythm(cron="0 * * * *", catch_up="all", quiet=["22:00-23:00"])
    noon = SUNDAY + timedelta(hours=12)
    assert await awake_at(store, hourly, noon) == []
    assert await awake_at(store, hourly, noon + timedelta(minutes=150)) == ["13:00", "14:00"]
    assert await awake_at(store, hourly, noon + timedelta(hours=10, minutes=30)) == [], "it is quiet now"
    assert len(await awake_at(store, hourly, noon + timedelta(hours=11, minutes=30))) == 8
