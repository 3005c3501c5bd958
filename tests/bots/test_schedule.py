"""When scenes are played: cron as cron has it, in the schedule's own zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.schedule import Occurrence, newest, occurrences, upcoming
from selves.cast import Schedule
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
    found = newest(schedule(cron), now - timedelta(days=300), now)
    assert found is not None
    assert found <= now < next(occurrences(schedule(cron), found))
    assert newest(schedule(cron), found, now) is None


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
