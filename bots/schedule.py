"""When scenes play by themselves: the cast's `[[schedule]]` tables, each occurrence exactly once.

An occurrence is named by its scene, channel and moment. That name is the scene's key in the database, so
whatever is fired twice, by a restart or a second process, is played once. All chance in a schedule (jitter,
`per_day`) is drawn from seeds that name the day or the moment, so all processes agree about it. APScheduler
only keeps the time.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice, takewhile
from random import Random
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger

from bots.discord_channel import place_of
from bots.post_office import deliver_soon
from bots.quiet import is_quiet
from bots.timing import poisson
from memory import states
from memory.store import Store
from selves.cast import Cast, SceneSpec, Schedule
from selves.errors import ConfigError, SelvesError, StoreError
from selves.speech import seed_from

log = logging.getLogger("selves.bots")

LATE = timedelta(minutes=5)
"""An occurrence that is noticed later than this (the machine slept) was missed."""
LOOK_BACK = (timedelta(hours=1), timedelta(days=1), timedelta(days=31), timedelta(days=400))
"""How far back a missed occurrence is looked for."""
DELIVERY_S = 300
"""How often letters are looked for whose age has come."""
MOST_MISSED = 20
"""So many missed occurrences are played at most, the newest."""
SKIPPED_AT_MOST = 2000
"""After so many moments in a row that lie in quiet hours, no more are looked for."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
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
    """Yield the moments after `after` that do not lie in quiet hours, in the schedule's own time zone.

    Without end, unless the schedule never comes true (30 February). Raises ConfigError.
    """
    zone = ZoneInfo(schedule.timezone)
    skipped = 0
    for moment in _moments(schedule, after):
        at = moment.astimezone(zone)
        if is_quiet(at, schedule.quiet):
            skipped += 1
            if skipped > SKIPPED_AT_MOST:
                return
        elif at > after:
            skipped = 0
            yield at


def upcoming(schedules: Sequence[Schedule], after: datetime, count: int) -> list[Occurrence]:
    """Return the next `count` occurrences of all schedules, soonest first. Raises ConfigError."""
    found = [Occurrence(at, s) for s in schedules for at in islice(occurrences(s, after), count)]
    return sorted(found, key=lambda o: (o.at, o.schedule.scene))[:count]


def missed(schedule: Schedule, after: datetime, until: datetime, most: int = 1) -> list[datetime]:
    """Return the last moments in (after, until], `most` of them, from the 400 days before `until`."""
    found: deque[datetime] = deque(maxlen=most)
    for span in LOOK_BACK:
        # short spans first: a schedule of every minute has half a million moments in a year
        start = max(after, until - span)
        found = deque(takewhile(lambda at: at <= until, occurrences(schedule, start)), maxlen=most)
        if len(found) == most or start == after:
            break
    return list(found)


def _moments(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """Yield the moments after `after` and perhaps some before, in order, each with its own delay."""
    if not schedule.jitter_minutes:
        yield from _exact(schedule, after)
        return
    jitter = timedelta(minutes=schedule.jitter_minutes)
    waiting: list[datetime] = []
    for at in _exact(schedule, after - jitter):
        # what comes later than `at` cannot be delayed to before it
        while waiting and waiting[0] <= at:
            yield heapq.heappop(waiting)
        dice = Random(seed_from("jitter", key_prefix(schedule), at.astimezone(UTC).isoformat()))
        heapq.heappush(waiting, at.astimezone(UTC) + jitter * dice.random())
    while waiting:
        yield heapq.heappop(waiting)


def _exact(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    if schedule.cron:
        yield from _by_cron(schedule, after)
    elif schedule.every_minutes:
        step = timedelta(minutes=schedule.every_minutes)
        count = math.floor((after - EPOCH) / step)
        while True:
            count += 1
            if (at := EPOCH + count * step) > after:
                yield at
    else:
        yield from _by_chance(schedule, after)


def _by_cron(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """As cron has it: with both a day of the month and a weekday given, either is enough."""
    triggers = _triggers(schedule)
    while True:
        # a microsecond later, so that `after` itself is over
        fires = [t.get_next_fire_time(None, after + timedelta(microseconds=1)) for t in triggers]
        found = [at for at in fires if at is not None]
        if not found:
            return
        after = min(found)
        yield after


def _by_chance(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """So many a day on average, independent of each other: what begins a burst of chatter."""
    day = after.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    while True:
        dice = Random(seed_from("per_day", key_prefix(schedule), schedule.per_day, day.date()))
        hours = sum(poisson(dice, schedule.per_day / 24) for _ in range(24))
        moments = sorted(day + timedelta(days=dice.random()) for _ in range(hours))
        yield from (at for at in moments if at > after)
        day += timedelta(days=1)


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
        self.cast, self._store, self._play, self._now = cast, store, play, now
        self._scheduler = AsyncIOScheduler(timezone=UTC)

    async def start(self) -> None:
        """Catch up with what was missed, and wait for what comes. Raises ConfigError, StoreError."""
        now = self._now()
        for schedule in self.cast.schedule:
            await self._catch_up(schedule, now)
            self._arm(schedule, now)
        await self.deliver()
        self.every(DELIVERY_S, self.deliver)
        self._scheduler.start()

    async def deliver(self) -> None:
        """Have letters answered that have arrived: their age is registered, and one of the cast."""
        for channel in self.cast.discord.channels:
            try:
                await deliver_soon(self._store, self.cast, place_of(channel), partial(self._play, channel))
            except StoreError as error:
                log.error("letters could not be delivered: %s", error)

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
            return
        log.warning("scene %r was missed at %s, as nobody was awake", schedule.scene, at)
        for moment in missed(schedule, at - timedelta(microseconds=1), now, _most(schedule)):
            self._ask(schedule, moment)

    async def _catch_up(self, schedule: Schedule, now: datetime) -> None:
        """Play what was missed since the last occurrence that was played; a new schedule has missed nothing.

        Whatever `catch_up` says: what was due a moment ago, when another process died, is not too late.
        """
        known = f"{key_prefix(schedule)}known"
        began = await states.get(self._store, known)
        if began is None:
            await states.put(self._store, known, now.astimezone(UTC).isoformat())
        prefix = key_prefix(schedule)
        scenes = await self._store.scenes(name=schedule.scene, place=place_of(schedule.channel), last=100)
        played = [s.key.removeprefix(prefix) for s in scenes if s.key and s.key.startswith(prefix)]
        if not played and began is None:
            return
        last = max(datetime.fromisoformat(moment) for moment in played or [began])
        if schedule.catch_up == "skip":
            last = max(last, now - LATE)
        for at in missed(schedule, last, now, max(1, _most(schedule))):
            self._ask(schedule, at)

    def _ask(self, schedule: Schedule, at: datetime) -> None:
        occurrence = Occurrence(at, schedule)
        if is_quiet(self._now().astimezone(ZoneInfo(schedule.timezone)), schedule.quiet):
            log.info("scene %r of %s is left out: these are quiet hours", schedule.scene, at)
            return
        try:
            self._play(schedule.channel, self.cast.find_scene(schedule.scene), occurrence.key)
        except SelvesError as error:
            log.error("scene %r was to be played at %s: %s", schedule.scene, at, error)


def _most(schedule: Schedule) -> int:
    """How many missed occurrences of a schedule are played."""
    return {"skip": 0, "latest": 1, "all": MOST_MISSED}[schedule.catch_up]
