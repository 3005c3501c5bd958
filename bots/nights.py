"""What a house writes by itself when a day is over: the day, and after its last day a week and a month.

Each entry is kept under the name of its self and its period, and one that is finished is never written again:
so this may be asked for as often as one likes, by as many processes, after any pause.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from bots.daily import find_entry, keep_entry
from bots.days import Period, period
from memory.store import Store
from selves.cast import Cast, DiaryTimes
from selves.errors import EngineError, StoreError
from serving.voice import Voice

log = logging.getLogger("selves.diary")

NIGHT_S = 600
"""How often it is looked for what is due."""
DAYS_BACK = 7
"""Days that nobody was awake after are written so long; a week and a month have what is in them anyway."""


def due(now: datetime, times: DiaryTimes) -> Iterator[Period]:
    """Yield the periods that are over and may be written now, in order (pure).

    Between midnight and `at` the day before is not yet due.
    """
    local = now.astimezone(ZoneInfo(times.timezone))
    today = local.date()
    if local.time() < time.fromisoformat(times.at):
        today -= timedelta(1)
    for back in range(DAYS_BACK, 0, -1):
        yield period("day", today - timedelta(back), times.timezone)
    yield period("week", period("week", today, times.timezone).first - timedelta(1), times.timezone)
    yield period("chapter", today.replace(day=1) - timedelta(1), times.timezone)


async def write_due(store: Store, voice: Voice, cast: Cast) -> int:
    """Write all entries that are due and not there; return how many were written.

    A self whose engine does not answer, or whose diary another process writes, is asked again the next time.
    """
    if not cast.diary.at:
        return 0
    written = 0
    for when in due(store.clock(), cast.diary):
        for persona in cast.persona:
            if cast.diary.who and persona.name not in cast.diary.who:
                continue
            known = await find_entry(store, persona, when)
            if known is not None and known.scene.status == "ended":
                continue
            try:
                entry = await keep_entry(store, voice, persona, when, lambda line: log.info("%s", line))
            except (EngineError, StoreError) as error:
                log.warning("%s could not write about %s: %s", persona.name, when.name, error)
                continue
            if entry is not None:
                written += 1
                log.info("%s wrote about %s", persona.name, when.name)
    return written
