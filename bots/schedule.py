"""When scenes play by themselves: the cast's `[[schedule]]` tables, each occurrence exactly once.

An occurrence is named by its scene, channel and moment. That name is the scene's key in the database, so
whatever is fired twice, by a restart or a second process, is played once. APScheduler only keeps the time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger

from bots.discord_channel import place_of
from memory.store import Store
from selves.cast import Cast, SceneSpec, Schedule
from selves.errors import ConfigError, SelvesError

log = logging.getLogger("selves.bots")

LATE = timedelta(minutes=5)
"""An occurrence that is noticed later than this (the machine slept) was missed."""
LOOK_BACK = (timedelta(hours=1), timedelta(days=1), timedelta(days=31), timedelta(days=400))
"""How far back a missed occurrence is looked for."""
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""By cron's numbers: 0 and 7 are Sunday. APScheduler's numbers begin on Monday."""


class Occurrence(NamedTuple):
    """One moment of one schedule."""

    at: datetime
    """In the schedule's own time zone."""
    schedule: Schedule

    @property
    def key(self) -> str:
        """What makes it single in the database."""
        return f"{key_prefix(self.schedule)}{self.at.astimezone(UTC).isoformat()}"


class Rooms(Protocol):
    """Where scenes are asked for."""

    def __call__(self, channel_id: int, spec: SceneSpec, key: str) -> object: ...


def key_prefix(schedule: Schedule) -> str:
    """The beginning of the keys of all occurrences of a schedule."""
    return f"schedule:{schedule.scene}:{schedule.channel}:"


def occurrences(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """Yield the moments after `after`, without end unless the schedule never comes true (30 February).

    As cron has it: with both a day of the month and a weekday given, either is enough. Raises ConfigError.
    """
    triggers = _triggers(schedule)
    while True:
        # a microsecond later, so that `after` itself is over
        moments = [t.get_next_fire_time(None, after + timedelta(microseconds=1)) for t in triggers]
        found = [moment for moment in moments if moment is not None]
        if not found:
            return
        after = min(found)
        yield after


def upcoming(schedules: Sequence[Schedule], after: datetime, count: int) -> list[Occurrence]:
    """Return the next `count` occurrences of all schedules, soonest first. Raises ConfigError."""
    found = [Occurrence(at, s) for s in schedules for at in islice(occurrences(s, after), count)]
    return sorted(found, key=lambda o: (o.at, o.schedule.scene))[:count]


def newest(schedule: Schedule, after: datetime, until: datetime) -> datetime | None:
    """Return the last moment in (after, until], if there is one in the 400 days before `until`."""
    for span in LOOK_BACK:
        # short spans first: a schedule of every minute has half a million moments in a year
        start = max(after, until - span)
        found = list(takewhile(lambda at: at <= until, occurrences(schedule, start)))
        if found or start == after:
            return found[-1] if found else None
    return None


def _triggers(schedule: Schedule) -> list[CronTrigger]:
    fields = schedule.cron.split()
    zone = ZoneInfo(schedule.timezone)
    try:
        if len(fields) != 5:
            raise ValueError(f"it has {len(fields)} fields, not 5")
        minute, hour, day, month, weekday = fields
        days = [(day, "*"), ("*", weekday)] if "*" not in (day, weekday) else [(day, weekday)]
        return [
            CronTrigger(minute=minute, hour=hour, day=d, month=month, day_of_week=_weekdays(w), timezone=zone)
            for d, w in days
        ]
    except ValueError as error:
        raise ConfigError(
            f"the schedule of scene {schedule.scene!r} has cron = {schedule.cron!r}: {error}",
            'five fields: minute hour day month weekday; "30 20 * * mon-fri" is half past eight on weekdays',
        ) from error


def _weekdays(field: str) -> str:
    """Translate cron's weekdays (0 and 7 are Sunday, names in English) into APScheduler's names."""
    if field == "*":
        return "*"
    days: list[str] = []
    for part in field.lower().split(","):
        span, _, step = part.partition("/")
        first, _, last = ("0-6" if span == "*" else span).partition("-")
        start = _weekday(first)
        end = _weekday(last) if last else 6 if step else start
        if end < start:
            end += 7
        days += [WEEKDAYS[number % 7] for number in range(start, end + 1, int(step or 1))]
    return ",".join(dict.fromkeys(days))


def _weekday(text: str) -> int:
    if text in WEEKDAYS:
        return WEEKDAYS.index(text)
    if text.isdecimal() and int(text) <= 7:
        return int(text)
    raise ValueError(f"{text!r} is no weekday")


class Timetable:
    """Fires the cast's schedules. `play` asks a channel's room for a scene; it may raise SelvesError."""

    def __init__(
        self, cast: Cast, store: Store, play: Rooms, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._cast, self._store, self._play, self._now = cast, store, play, now
        self._scheduler = AsyncIOScheduler(timezone=UTC)

    async def start(self) -> None:
        """Catch up with what was missed, and wait for what comes. Raises ConfigError, StoreError."""
        now = self._now()
        for schedule in self._cast.schedule:
            await self._catch_up(schedule, now)
            self._arm(schedule, now)
        self._scheduler.start()

    def every(self, seconds: int, what: Callable[[], object]) -> None:
        """Do something else regularly; `what` must be a coroutine function."""
        self._scheduler.add_job(
            what, "interval", seconds=seconds, max_instances=1, coalesce=True, misfire_grace_time=None
        )

    def stop(self) -> None:
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def _arm(self, schedule: Schedule, after: datetime) -> None:
        """Wait for the next occurrence, with its own moment as argument."""
        for at in occurrences(schedule, after):
            self._scheduler.add_job(
                self.fire, "date", run_date=at, args=(schedule, at), misfire_grace_time=None
            )
            return

    async def fire(self, schedule: Schedule, at: datetime) -> None:
        """Play an occurrence whose time has come, and wait for the next one."""
        now = self._now()
        self._arm(schedule, max(now, at))
        if now - at <= LATE:
            self._ask(schedule, at)
        elif schedule.catch_up == "latest":
            self._ask(schedule, newest(schedule, at, now) or at)
        else:
            log.warning("scene %r was missed at %s, as nobody was awake", schedule.scene, at)

    async def _catch_up(self, schedule: Schedule, now: datetime) -> None:
        """Play the newest occurrence since the last that was played; a new schedule has missed nothing."""
        if schedule.catch_up == "skip":
            return
        prefix = key_prefix(schedule)
        scenes = await self._store.scenes(place=place_of(schedule.channel))
        played = [s.key.removeprefix(prefix) for s in scenes if s.key and s.key.startswith(prefix)]
        if not played:
            return
        last = max(datetime.fromisoformat(moment) for moment in played)
        missed = newest(schedule, last, now)
        if missed is not None:
            self._ask(schedule, missed)

    def _ask(self, schedule: Schedule, at: datetime) -> None:
        occurrence = Occurrence(at, schedule)
        try:
            self._play(schedule.channel, self._cast.find_scene(schedule.scene), occurrence.key)
        except SelvesError as error:
            log.error("scene %r was to be played at %s: %s", schedule.scene, at, error)
