"""Days, weeks and chapters: which lines go into one line of a diary, and how a self is asked for it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby, pairwise
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from bots.letter import is_told
from memory.types import Message
from selves.cast import Persona
from selves.speech import ChatMessage, Prompt
from serving.prompt import one_line, plain_name
from serving.voice import ModelInfo

Span = Literal["day", "week", "chapter"]
LINES = 8
"""So many lines of a talk become one of the diary."""
MOST = 12
"""So many lines an entry has at most; of a longer day, those parts that are spread most evenly."""
BEGUN = {"day": "Today", "week": "This week", "chapter": "In those days"}
ASKED = {
    "day": "Write one sentence in your diary about this.",
    "week": "These are lines of your diary. Say in one sentence what that day was.",
    "chapter": "These are lines of your diary. Say in one sentence what that week was.",
}


class Period(NamedTuple):
    """A day, a week (from Monday), or a chapter: a month."""

    span: Span
    first: date
    end: date
    """The day after its last."""
    zone: str = "UTC"
    """Whose midnight parts its days."""

    @property
    def name(self) -> str:
        """`2026-11-23`, `2026-W48`, `2026-11`."""
        if self.span == "day":
            return self.first.isoformat()
        if self.span == "week":
            year, week, _ = self.first.isocalendar()
            return f"{year}-W{week:02d}"
        return f"{self.first:%Y-%m}"

    @property
    def parts(self) -> Iterator[Period]:
        """Its days, or of a chapter the weeks whose Thursday is in it, as ISO 8601 counts weeks to years."""
        span: Span = "day" if self.span == "week" else "week"
        days = (self.first + timedelta(n) for n in range((self.end - self.first).days))
        for day in days:
            if self.span == "week" or (self.span == "chapter" and day.weekday() == 3):
                yield period(span, day, self.zone)

    @property
    def moments(self) -> tuple[datetime, datetime]:
        """When it begins and ends, in UTC."""
        zone = ZoneInfo(self.zone)
        begin, end = (datetime.combine(day, time(), zone).astimezone(UTC) for day in (self.first, self.end))
        return begin, end


def period(span: Span, day: date, zone: str = "UTC") -> Period:
    """Return the day, week or chapter that a day is in, as its time zone parts them."""
    if span == "day":
        return Period(span, day, day + timedelta(1), zone)
    if span == "week":
        monday = day - timedelta(day.weekday())
        return Period(span, monday, monday + timedelta(7), zone)
    first = day.replace(day=1)
    return Period(span, first, (first + timedelta(31)).replace(day=1), zone)


def groups(messages: Sequence[Message], size: int = LINES, most: int = MOST) -> list[list[Message]]:
    """Cut what was said into the parts that a line of the diary tells of: of one scene each, in order.

    Parts of a scene are about as long as each other. Where there are more than `most`, the first, the last
    and those at even distances between them stay.
    """
    found: list[list[Message]] = []
    for _, scene in groupby(messages, key=lambda message: message.scene_id):
        lines = list(scene)
        parts = -(-len(lines) // size)
        cuts = [len(lines) * n // parts for n in range(parts + 1)]
        found += [lines[a:b] for a, b in pairwise(cuts)]
    if len(found) <= most:
        return found
    kept = sorted({round(n * (len(found) - 1) / max(1, most - 1)) for n in range(most)})
    return [found[n] for n in kept]


def untold(messages: Sequence[Message], cited: Collection[int]) -> list[Message]:
    """Return what was said after the last line of its scene that was told of already."""
    last: dict[int, int] = {}
    for message in messages:
        if message.id in cited:
            last[message.scene_id] = message.sequence
    return [message for message in messages if message.sequence > last.get(message.scene_id, 0)]


def ask(info: ModelInfo, persona: Persona, span: Span, lines: Sequence[Message]) -> Prompt:
    """Return the prompt for one line of the diary that tells of these lines, and cites them."""
    ids = tuple(line.id for line in lines)
    human = any(line.human for line in lines)
    if is_told(info, persona):
        said = "\n".join(f"{plain_name(line.speaker)}: {one_line(line.text)}" for line in lines)
        messages = (
            ChatMessage(role="system", content=persona.about),
            ChatMessage(role="user", content=f"{said}\n\n{ASKED[span]}"),
        )
        return Prompt(form="chat", messages=messages, message_ids=ids, has_human=human)
    said = "".join(f"<{plain_name(line.speaker)}> {one_line(line.text)}\n" for line in lines)
    text = f"{said}<{plain_name(persona.name)}> Dear diary. {BEGUN[span]}"
    return Prompt(form="transcript", text=text, message_ids=ids, has_human=human)


def begun(info: ModelInfo, persona: Persona, span: Span) -> str:
    """Return what of the line stood on the page before the self wrote."""
    return "" if is_told(info, persona) else BEGUN[span]
