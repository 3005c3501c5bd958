"""Who speaks next: pure, reads no clock and no dice of its own.

Whoever is addressed goes first. Otherwise every self bids for the floor: how talkative it is, how long it has
been quiet, how much it is expected, minus its share of the recent talk, plus a little chance. Two selves that
keep naming each other cannot shut the others out: whoever has waited too long comes before a name called by
another self.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Protocol

from selves.cast import Order, Persona

RECENT = 20
"""How many lines back a self's share of the talk is counted."""
PATIENCE = 3
"""After this many rounds of the whole cast in silence, a self speaks before one that another self named."""
CHANCE = 0.5
"""The noise in a bid is drawn from 0 to this; talkativeness, waiting and being expected count up to 1, share
down to -1."""
SILENCE = ""
"""Stands for silence among the names of those who are expected."""
NOBODY: Mapping[str, float] = MappingProxyType({})


class Line(Protocol):
    """What the floor must know of a line: whose it was, and what it said."""

    @property
    def speaker(self) -> str: ...

    @property
    def text(self) -> str: ...


def next_speaker(
    personas: Sequence[Persona],
    lines: Sequence[Line],
    *,
    order: Order = "floor",
    rng: Random,
    may_be_silent: bool = False,
    expected: Mapping[str, float] = NOBODY,
    reserve: float = 0.0,
) -> Persona | None:
    """Return who has the floor after `lines` (oldest first), or None when nobody wants it.

    Nobody speaks twice in a row unless alone. A talkativeness of 0 means: only when addressed. With
    `may_be_silent`, silence bids too, more the less talkative the cast is, and `reserve` more: for chatter
    that nobody asked for, never for a scene that somebody began. `expected`: how likely each name comes
    next, and silence (`bids.expected`).
    """
    last = lines[-1] if lines else None
    eligible = [p for p in personas if last is None or p.name != last.speaker] or list(personas)
    if not eligible:
        return None
    if order == "round":
        return _after(personas, lines)
    waits = {p.name: _wait(p.name, lines) for p in eligible}
    named = addressed(eligible, last.text) if last else []
    if last and last.speaker in {p.name for p in personas}:
        overdue = [p for p in eligible if p.talkativeness > 0 and waits[p.name] > PATIENCE * len(personas)]
        if overdue:
            return max(overdue, key=lambda p: waits[p.name])
    if named:
        return named[0]
    bids = {
        p.name: _bid(p, waits[p.name], lines, len(personas), rng) + expected.get(p.name, 0.0)
        for p in eligible
        if p.talkativeness > 0
    }
    silence = 1 - sum(p.talkativeness for p in eligible) / len(eligible) + rng.random() * CHANCE
    silence += expected.get(SILENCE, 0.0) + reserve
    if not bids or (may_be_silent and silence > max(bids.values())):
        return None
    winner = max(bids, key=lambda name: bids[name])
    return next(p for p in eligible if p.name == winner)


def addressed(personas: Sequence[Persona], text: str) -> list[Persona]:
    """Return whom a line names, in the order of naming.

    `@name` counts in any case, and so does a name that opens the line; elsewhere a name must be written as
    the cast file has it, since some names are words too.
    """
    found: list[tuple[int, Persona]] = []
    for persona in personas:
        name = re.escape(persona.name)
        match = re.search(rf"(?<!\w)(?i:@{name})(?!\w)|^(?i:{name})(?!\w)|(?<!\w){name}(?!\w)", text.strip())
        if match:
            found.append((match.start(), persona))
    return [persona for _, persona in sorted(found, key=lambda item: item[0])]


def _after(personas: Sequence[Persona], lines: Sequence[Line]) -> Persona:
    """The next in the order of the cast; lines of others do not count."""
    names = [p.name for p in personas]
    for line in reversed(lines):
        if line.speaker in names:
            return personas[(names.index(line.speaker) + 1) % len(personas)]
    return personas[0]


def _wait(name: str, lines: Sequence[Line]) -> int:
    """How many lines of others came since `name` spoke (since the beginning, if it has not)."""
    for count, line in enumerate(reversed(lines)):
        if line.speaker == name:
            return count
    return len(lines)


def _bid(persona: Persona, wait: int, lines: Sequence[Line], present: int, rng: Random) -> float:
    recent = lines[-RECENT:]
    share = sum(line.speaker == persona.name for line in recent) / max(1, len(recent))
    return persona.talkativeness + min(1.0, wait / (2 * present)) - share + rng.random() * CHANCE
