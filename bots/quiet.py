"""When to leave people in peace: quiet hours, and two selves who have talked enough with each other. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

MINUTE = timedelta(minutes=1)
EXCHANGES = 6
"""So often in a minute may two selves speak after each other ..."""
REST = timedelta(minutes=10)
"""... and then they leave each other alone for so long."""


class Spoken(NamedTuple):
    """Who spoke when."""

    speaker: str
    at: datetime


def is_quiet(at: datetime, spans: Collection[str]) -> bool:
    """Whether a moment, in its own time zone, lies in one of the spans of hours, such as `22:00-08:00`.

    The beginning belongs to a span, the end does not; a span from a time to itself is the whole day.
    """
    time = f"{at:%H:%M}"
    for span in spans:
        begin, end = span.split("-")
        if begin <= time < end if begin < end else time >= begin or time < end:
            return True
    return False


def resting_with(name: str, lines: Sequence[Spoken], now: datetime) -> set[str]:
    """Return with whom a self has talked enough; `lines` are what selves said, oldest first.

    A rule that counts what one self says trips too late when two alternate; so what is counted is each time
    one of a pair speaks right after the other.
    """
    exchanges: dict[str, list[datetime]] = defaultdict(list)
    for before, line in pairwise(lines):
        if name in (before.speaker, line.speaker) and before.speaker != line.speaker:
            exchanges[before.speaker if line.speaker == name else line.speaker].append(line.at)
    return {
        other
        for other, times in exchanges.items()
        if any(
            last - first < MINUTE and now - last < REST
            for first, last in zip(times, times[EXCHANGES - 1 :], strict=False)
        )
    }
