"""Logs of models talking with each other, in the three ways such projects write them (pure).

    actors: claude-1, claude-2          the infinite backrooms: a head, then what each was told, then turns
    models: ..., ...
    temp: 1, 1

    <claude-1#SYSTEM>
    ...
    <claude-1>
    ...

    ### Claude 1 ###                    UniversalBackrooms, newer
    ...

    Claude 1:                           UniversalBackrooms, older: a name alone on its line after an empty one
    ...

The speakers are models, not people. See https://dreams-of-an-electric-mind.webflow.io and
https://github.com/samhains/UniversalBackrooms.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

_HEAD = re.compile(r"^(actors|models|temp):[ \t]*(.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^<([\w .'-]{1,80})(?:#([A-Z]+))?>[ \t]*$", re.MULTILINE)
_HEADING = re.compile(r"^### (.+?) ###[ \t]*$", re.MULTILINE)
_ROUND = re.compile(r"^### Round \d+(?:/(?:\d+|inf))?[ \t]*$", re.MULTILINE)
_NAMED = re.compile(r"(?:\A|(?<=\n\n)|(?<=\A\n))([^\W_][\w .'-]{0,79}):[ \t]*$", re.MULTILINE)
_ENDED = re.compile(r"^(.+) has ended the conversation with \^C(?:\^C)?\.\s*\Z", re.MULTILINE)
_RUN = "Backrooms Run"
"""Heading of what was run."""
_STARTED = re.compile(r"^Started:[ \t]*(\S+)", re.MULTILINE)
_TEMPLATE = re.compile(r"^Template:[ \t]*(.+)$", re.MULTILINE)
_STAMP = re.compile(r"(\d{8})_(\d{6})")
_SECONDS = re.compile(r"conversation_(\d{9,10})(?:_scenario_([\w-]+?))?(?:\.txt)?$")


class Turn(NamedTuple):
    speaker: str
    text: str


class Log(NamedTuple):
    """A conversation."""

    name: str
    premise: str
    """What the models were told before it, if the log says so."""
    turns: tuple[Turn, ...]
    began_at: datetime | None
    ended: bool
    """Whether one of them ended it."""


def from_backrooms(text: str, file_name: str) -> Log:
    """Read a log. Raises ValueError if it is none."""
    text = text.replace("\r\n", "\n")
    ended = _ENDED.search(text)
    if ended:
        text = text[: ended.start()]
    if _HEAD.search(text) and _BLOCK.search(text):
        told, turns = _blocks(text)
    elif _HEADING.search(text):
        told, turns = "", _headed(text)
    else:
        told, turns = "", _named(text)
    if not turns:
        raise ValueError(
            "it is no log of a conversation: nobody speaks in it, as `<name>`, `### Name ###` or `Name:`"
        )
    template = _TEMPLATE.search(text)
    named = _SECONDS.search(file_name)
    name = template[1].strip() if template else (named and named[2]) or file_name.removesuffix(".txt")
    return Log(name, told, tuple(turns), _began(text, file_name), ended is not None)


def _blocks(text: str) -> tuple[str, list[Turn]]:
    """Return what the actors were told, and what they said."""
    actors = next((m[2] for m in _HEAD.finditer(text) if m[1] == "actors"), "")
    known = [actor.strip() for actor in actors.split(",")]
    told: dict[str, None] = {}
    turns: list[Turn] = []
    for name, kind, said in _cut(list(_BLOCK.finditer(text)), text):
        if kind == "SYSTEM":
            told[said.removesuffix("</s>").strip()] = None
        elif kind is None and said:
            # `<claude-1-claude-3-opus-20240229>`: some logs add the model to the actor's name
            turns.append(Turn(next((a for a in known if a and name.startswith(a)), name), said))
    return "\n\n".join(filter(None, told)), turns


def _headed(text: str) -> list[Turn]:
    """Return what stands below `### Name ###`.

    UniversalBackrooms numbers its models; what has no number there are tools beside them (pictures, posts).
    """
    with_rounds = _ROUND.search(text) is not None
    text = _ROUND.sub("", text)
    turns = [Turn(name, said) for name, _, said in _cut(list(_HEADING.finditer(text)), text) if said]
    numbered = [turn for turn in turns if turn.speaker[-1].isdecimal()]
    return numbered if numbered or with_rounds else [turn for turn in turns if turn.speaker != _RUN]


def _named(text: str) -> list[Turn]:
    """Return what stands below `Name:`.

    `Warning:` may stand alone on a line too; but models take turns, so all of them speak equally often.
    """
    found = list(_NAMED.finditer(text))
    often = Counter(match[1].strip() for match in found)
    most = max(often.values(), default=0)
    found = [match for match in found if often[match[1].strip()] >= most - 1]
    turns = [Turn(name, said) for name, _, said in _cut(found, text) if said]
    return turns if len(often) > 1 else []


def _cut(headings: Sequence[re.Match[str]], text: str) -> Iterator[tuple[str, str | None, str]]:
    """Yield (name, kind, text) of what stands below each heading."""
    ends = [*(match.start() for match in headings[1:]), len(text)]
    for match, end in zip(headings, ends, strict=False):
        kind = match[2] if match.re is _BLOCK else None
        yield match[1].strip(), kind, text[match.end() : end].strip("\n").rstrip()


def _began(text: str, file_name: str) -> datetime | None:
    if started := _STARTED.search(text):
        try:
            moment = datetime.fromisoformat(started[1])
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            return None
    if seconds := _SECONDS.search(file_name):
        return datetime.fromtimestamp(int(seconds[1]), UTC)
    if stamp := _STAMP.search(file_name):
        try:
            return datetime.strptime(f"{stamp[1]}{stamp[2]}", "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            return None
    return None
