"""`selves bots status`: what every process says of itself, read from the database in any terminal."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from bots.processes import SILENT_AFTER, STATE, is_dead
from memory import states
from memory.outbox import KEPT, Undelivered, undelivered
from memory.store import Store

REGISTRAR = "The registrar"
SHOWN = 5
"""So many lines that could not be delivered are shown."""


class Bot(NamedTuple):
    """One account, as its process sees it."""

    name: str
    runs: bool
    """Whether this process is the one that runs it; else it waits to take over."""
    online: bool
    problem: str


class Process(NamedTuple):
    """One `selves bots run`."""

    name: str
    started: datetime
    seen: datetime
    leads: bool
    """Whether it has the registrar, the rooms and the timetable."""
    registrar: Bot
    selves: tuple[Bot, ...]
    guests: tuple[str, ...]
    refusals: int
    """Requests that Discord refused within ten minutes."""
    silent: bool
    """Whether it sends nothing at present, because there were too many."""


class Status(NamedTuple):
    """All that run now, and what could not be delivered."""

    processes: tuple[Process, ...]
    undelivered: tuple[Undelivered, ...] = ()
    """Lines that Discord refused for good in the last days, the newest first."""

    @property
    def is_well(self) -> bool:
        """Whether somebody listens, and all that are run are online."""
        running = [bot for p in self.processes for bot in (p.registrar, *p.selves) if bot.runs]
        return any(p.leads for p in self.processes) and all(bot.online for bot in running)


async def read_status(store: Store) -> Status:
    """Read what the living processes told last; who listens comes first."""
    found = await states.find(store, STATE)
    now = store.clock()
    living = [
        _process(key.removeprefix(STATE), state.value, state.at)
        for key, state in found.items()
        if now - state.at <= SILENT_AFTER and not _is_dead(key)
    ]
    processes = tuple(sorted(living, key=lambda p: (not p.leads, p.started)))
    return Status(processes, tuple(await undelivered(store)))


def _is_dead(key: str) -> bool:
    # the own number is this command's, or that of a house in this very process
    name = key.removeprefix(STATE)
    return is_dead(name) and name.split("/")[1] != str(os.getpid())


def _process(name: str, told: Mapping[str, Any], seen: datetime) -> Process:
    return Process(
        name,
        datetime.fromisoformat(told["started"]),
        seen,
        told["leads"],
        _bot(REGISTRAR, told["registrar"]),
        tuple(_bot(self_name, state) for self_name, state in told["selves"].items()),
        tuple(told["guests"]),
        told["refusals"],
        told["silent"],
    )


def _bot(name: str, told: Mapping[str, Any]) -> Bot:
    return Bot(name, told["runs"], told["online"], told["problem"])


def lines(status: Status) -> list[tuple[str, str]]:
    """Return what to show: (style, line)."""
    if not status.processes:
        nobody = "nobody of this house is on Discord; `selves bots run` brings them there"
        return [("red", nobody), *_undelivered(status.undelivered)]
    shown: list[tuple[str, str]] = []
    for process in status.processes:
        since = f"since {process.started:%d %b %H:%M} UTC"
        shown.append(("bold", f"{process.name}, {since}{', listens' if process.leads else ''}"))
        for bot in (process.registrar, *process.selves):
            if not bot.runs:
                shown.append(("dim", f"    {bot.name}: waits; another process has it"))
            elif bot.online:
                shown.append(("green", f"    ✓ {bot.name}"))
            else:
                shown.append(("red", f"    ✗ {bot.name}: {bot.problem or 'logging in'}"))
        if process.guests:
            shown.append(("", f"    guests: {', '.join(process.guests)}"))
        if process.silent:
            shown.append(("red", f"    silent: Discord refused {process.refusals} requests in ten minutes"))
        elif process.refusals:
            shown.append(("dim", f"    Discord refused {process.refusals} requests in ten minutes"))
    if not any(process.leads for process in status.processes):
        shown.append(("red", "nobody listens: no process has the registrar's token"))
    return [*shown, *_undelivered(status.undelivered)]


def _undelivered(lines: Sequence[Undelivered]) -> list[tuple[str, str]]:
    if not lines:
        return []
    shown = [
        ("", f"    {at:%d %b %H:%M} UTC, {place}, {speaker}, message {message_id}: {why}")
        for message_id, place, speaker, why, at in lines[:SHOWN]
    ]
    more = f", the newest {SHOWN}" if len(lines) > SHOWN else ""
    said = f"{len(lines)} lines of the last {KEPT.days} days that Discord refused for good{more}:"
    return [("red", said), *shown, ("dim", "    `selves memory show MESSAGE` tells all about one")]
