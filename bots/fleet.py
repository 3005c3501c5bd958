"""All of it together: the registrar, a speaker for each self, a room for each channel, the timetable.

Several processes may share this work (`processes.py`): each logs in the selves that are its own, and one of
them leads: it alone has the registrar, the rooms and the timetable. What selves of the others shall say is
kept in the database and posted by them (`elsewhere.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import discord

from bots import filters
from bots.account import PATIENT, Account, Pauses
from bots.breaker import Breaker
from bots.desk import Desk
from bots.elsewhere import Elsewhere, Errands
from bots.hearing import CatchUp, Event
from bots.newcomers import Newcomers
from bots.news import NEWS_S, tell_news
from bots.nights import NIGHT_S, write_due
from bots.processes import BEAT_S, LEASE_S, LISTENING, Processes, lease_of
from bots.reading import Company
from bots.registrar import Registrar
from bots.room import STEADY, Pace, Room, Where
from bots.rooms import Rooms
from bots.schedule import Timetable, upcoming
from bots.speaker import GUILD_WAIT_S, Speaker
from bots.webhook import Guest, Webhooks
from memory.outbox import drop_old_notes
from memory.store import Store
from selves.cast import Cast, Persona, SceneSpec
from selves.errors import DiscordError, StoreError, UsageError
from selves.settings import House
from serving.voice import Voice

log = logging.getLogger("selves.bots")

FIRST_LOGIN_S = 30.0
"""How long the registrar waits for the selves, so that it knows them when people mention them."""
EXPIRY_S = 3600
"""How often people's words are looked through for what has been kept long enough."""
NEWCOMERS_S = 60
"""How often ages are looked for that were made meanwhile."""
COMPARE_S = 86400
"""How often channels are compared with what is kept, in case an edit or a deletion was never told."""
REGISTRAR = "registrar"
"""Among the names of `--only`: the bot that listens."""

Client = TypeVar("Client", bound=discord.Client)


class Fleet:
    """Everything that runs in this process while the selves are on Discord."""

    def __init__(
        self,
        cast: Cast,
        store: Store,
        voice: Voice,
        tokens: Mapping[str, str],
        *,
        only: Collection[str] = (),
        newcomers: Newcomers | None = None,
        pace: Pace = STEADY,
        pauses: Pauses = PATIENT,
        guild_wait_s: float = GUILD_WAIT_S,
        process: str = "",
        lease_s: float = LEASE_S,
        beat_s: float = BEAT_S,
    ) -> None:
        """`process` names this process among others on the same database; it is made up when empty.

        Raises UsageError when the registrar's token, every self's token, or every channel is missing.
        """
        check(cast, tokens, only)
        self.cast, self.store, self._tokens, self._only = cast, store, tokens, only
        self._guild_wait_s = guild_wait_s
        self._voice, self._pace, self._pauses = voice, pace, pauses
        self._newcomers = newcomers
        self.breaker = Breaker()
        variable = cast.discord.registrar_token
        self.registrar = Account(
            "The registrar",
            variable,
            tokens.get(variable, ""),
            lambda: self._guarded(Registrar(self.desk, self._came_online, guild_wait_s)),
            pauses,
        )
        self.own: dict[str, Account] = {}
        """Accounts that this process has the tokens of."""
        self._elsewhere: dict[str, Elsewhere] = {}
        self.webhooks = Webhooks(self.registrar, self.breaker, pauses)
        self._guests: dict[str, Guest] = {}
        self.speakers: dict[str, Account] = {}
        """Who can speak, by name: here, in another process, or through a webhook."""
        self.processes = Processes(
            store, (), self._report, self._seat, name=process, lease_s=lease_s, beat_s=beat_s
        )
        self._started = datetime.now(UTC)
        self._recast = asyncio.Condition()
        """Notified when the cast has changed."""
        self.rooms = Rooms(store, cast.discord.channels, self._room)
        self.desk = Desk(
            cast=cast,
            store=store,
            voice=voice,
            speakers=self.speakers,
            rooms=self.rooms,
            registrar=self.registrar,
        )
        self._engage()
        self.timetable = Timetable(cast, store, self._play)

    async def run(self) -> None:
        """Run until cancelled.

        Raises ConfigError or StoreError at once when the timetable cannot begin, DiscordError when other
        processes run all of it already.
        """
        for line in self.introduction():
            log.info("%s", line)
        await self._expire()
        await self.processes.beat()
        if not self.processes.mine:
            await self.processes.leave()
            others = ", ".join(self.processes.others) or "another process"
            raise DiscordError(
                f"the selves of this house are on Discord already ({others})",
                "stop the other `selves bots run` first, or name other selves with --only",
            )
        works = [self.processes.run, self._errands, self.rooms.serve]
        works.append(lambda: self.processes.while_mine(LISTENING, self._lead))
        works.append(self._run_selves)
        await all_of(works)

    async def _run_selves(self) -> None:
        """Keep the selves of this process online, whoever they are by now."""
        running: dict[Account, asyncio.Task[None]] = {}
        try:
            while True:
                own = set(self.own.values())
                gone = [running.pop(account) for account in running.keys() - own]
                await stop(gone)
                for account in own - running.keys():
                    running[account] = asyncio.create_task(self._run_self(account))
                changed = asyncio.create_task(self._until_others(own))
                ended, _ = await asyncio.wait(
                    [changed, *running.values()], return_when=asyncio.FIRST_COMPLETED
                )
                await stop([changed])
                for task in ended - {changed}:
                    task.result()
        finally:
            await stop(running.values())

    async def _run_self(self, account: Account) -> None:
        await self.processes.while_mine(lease_of(account.name), account.keep_online)

    async def _until_others(self, own: set[Account]) -> None:
        async with self._recast:
            await self._recast.wait_for(lambda: own != set(self.own.values()))

    async def _lead(self) -> None:
        """Listen, and have the floor, for as long as no other process does."""

        async def listen() -> None:
            await self._first_logins()
            await self._begin_timetable()
            await all_of([self.registrar.keep_online, self._keep_timetable])

        try:
            await all_of([self.rooms.lead, listen])
        finally:
            self.timetable.stop()

    async def _begin_timetable(self) -> None:
        timetable = self.timetable = Timetable(self.cast, self.store, self._play)
        timetable.every(EXPIRY_S, self._expire)
        timetable.every(COMPARE_S, self.compare)
        timetable.every(NIGHT_S, partial(write_due, self.store, self._voice, self.cast))
        timetable.every(NEWS_S, self.tell_news)
        if self._newcomers is not None:
            timetable.every(NEWCOMERS_S, self._newcomers.announce)
        await timetable.start()

    async def _keep_timetable(self) -> None:
        """Let the timetable be that of the cast, whenever that has changed."""
        while True:
            async with self._recast:
                await self._recast.wait_for(lambda: self.cast is not self.timetable.cast)
            self.timetable.stop()
            await self._begin_timetable()

    async def _first_logins(self) -> None:
        """Wait for the selves, but not long: somebody whose login fails has tried, too."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOGIN_S):
                for name, account in self.own.items():
                    if lease_of(name) in self.processes.mine:
                        await account.tried.wait()

    async def _errands(self) -> None:
        """Post what the process that leads keeps for the selves of this one."""

        def mine() -> Mapping[str, Account]:
            return {n: a for n, a in self.own.items() if lease_of(n) in self.processes.mine}

        await Errands(self.store, mine, lambda: LISTENING not in self.processes.mine).run()

    def introduction(self) -> list[str]:
        """Say who is on board, and who is not and why."""
        lines = [f"on board: {', '.join([*self.own, *self._guests]) or 'nobody but the registrar'}"]
        for persona in self.cast.persona:
            if persona.name not in self.own and persona.name not in self._guests:
                lines.append(f"not on board: {persona.name} ({self._why_absent(persona)})")
        for spec in self.cast.scene:
            absent = [name for name in spec.cast if name not in self.own and name not in self._guests]
            if absent and not self._only:
                lines.append(f"scene {spec.name!r} cannot be played here without {', '.join(absent)}")
        for at, schedule in upcoming(self.cast.schedule, datetime.now(UTC), 1):
            lines.append(f"next scene: {schedule.scene!r} on {at:%A %d %B, %H:%M} {schedule.timezone}")
        return lines

    def _why_absent(self, persona: Persona) -> str:
        if not persona.token:
            return "no token in the cast file"
        return "not chosen" if self._tokens.get(persona.token) else f"{persona.token} is not set"

    # ------------------------------------------------------------------ the cast as it is now

    async def take(self, company: Company) -> None:
        """Let this be the cast from now on: who is new logs in, who is gone logs out.

        Raises UsageError or ConfigError when the selves could not be on Discord with it, and StoreError; then
        all stays as it was.
        """
        cast, tokens = company
        check(cast, tokens, self._only)
        upcoming(cast.schedule, datetime.now(UTC), 1)
        filters.load(cast.filter)
        variable = cast.discord.registrar_token
        self.registrar.become(variable, tokens.get(variable, ""))
        await self.rooms.name(cast.discord.channels)
        before = {**self.own, **self._guests}
        self.cast, self._tokens, self.desk.cast = cast, tokens, cast
        self._engage()
        now = {**self.own, **self._guests}
        self.rooms.leave([name for name in before if before[name] is not now.get(name)])
        for room in self.rooms.values():
            room.recast(cast)
        async with self._recast:
            self._recast.notify_all()
        client = self.registrar.client_now
        if isinstance(client, Registrar):
            client.give_notice_soon()
        for line in [
            "the cast has changed",
            *(f"{name} has come" for name in now if name not in before),
            *(f"{name} has gone" for name in before if name not in now),
        ]:
            log.info("%s", line)

    def _engage(self) -> None:
        """Have an account ready for everybody in the cast, the same as before for whoever has not changed."""
        cast, tokens = self.cast, self._tokens
        former, self.own = self.own, {}
        for persona in cast.persona:
            token = tokens.get(persona.token)
            if token and is_chosen(persona, self._only):
                known = former.get(persona.name)
                is_same = known is not None and known.is_for(persona.token, token)
                self.own[persona.name] = known if known and is_same else self._account(persona, token)
        others = {p.name: p.token for p in cast.persona if p.token}
        self._elsewhere = {
            name: self._elsewhere.get(name) or Elsewhere(name, variable, self.store, self._pauses)
            for name, variable in others.items()
        }
        guests = [p.name for p in cast.persona if not p.token] if cast.discord.guests else []
        self._guests = {name: self._guests.get(name) or Guest(name, self.webhooks) for name in guests}
        wanted = [lease_of(name) for name in self.own]
        if self._tokens.get(self.registrar.variable):
            wanted.append(LISTENING)
        self.processes.want(wanted)
        self._seat()

    def _account(self, persona: Persona, token: str) -> Account:
        make_client = partial(self._speaker, persona.name, self._guild_wait_s)
        return Account(persona.name, persona.token, token, make_client, self._pauses)

    # ------------------------------------------------------------------ among several processes

    def _seat(self) -> None:
        """Decide, for every self, through whom it speaks."""
        told: dict[str, Mapping[str, Any]] = {}
        for state in self.processes.others.values():
            told |= {name: each for name, each in state["selves"].items() if each["runs"]}
        self.breaker.elsewhere = sum(state["refusals"] for state in self.processes.others.values())
        seated: dict[str, Account] = {}
        for persona in self.cast.persona:
            name = persona.name
            if name in self._elsewhere:
                self._elsewhere[name].hear(told.get(name))
            if name in self._guests:
                seated[name] = self._guests[name]
            elif name in self.own and (name not in told or lease_of(name) in self.processes.mine):
                seated[name] = self.own[name]
            elif name in told:
                seated[name] = self._elsewhere[name]
        if {n: id(a) for n, a in seated.items()} != {n: id(a) for n, a in self.speakers.items()}:
            # the rooms hold on to this mapping
            self.speakers.clear()
            self.speakers.update(seated)

    def _report(self) -> Mapping[str, Any]:
        """What the other processes, and `selves bots status`, want to know of this one."""
        mine = self.processes.mine
        return {
            "started": self._started.isoformat(),
            "refusals": self.breaker.refusals,
            "silent": self.breaker.is_open,
            "registrar": _state(self.registrar, runs=LISTENING in mine),
            "selves": {name: _state(a, runs=lease_of(name) in mine) for name, a in self.own.items()},
            "guests": list(self._guests),
        }

    # ------------------------------------------------------------------ inside

    def _room(self, where: Where) -> Room:
        # in private there are only the two: what the registrar does elsewhere, the self does there
        return Room(
            where,
            cast=self.cast,
            store=self.store,
            voice=self._voice,
            speakers={where.to: self.own[where.to]} if where.private else self.speakers,
            registrar=self.own[where.to] if where.private else self.registrar,
            pace=self._pace,
        )

    def _speaker(self, name: str, guild_wait_s: float) -> discord.Client:
        def hear(channel_id: int, event: Event) -> None:
            self.rooms.open_private(channel_id, name).take(event)

        return self._guarded(Speaker(self._came_online, guild_wait_s, private=hear))

    def _guarded(self, client: Client) -> Client:
        """Let the breaker see whatever a client asks of Discord."""
        client.http.http_trace = self.breaker.trace()
        return client

    def _came_online(self) -> None:
        """Somebody is there (again): compare what was missed, post what was left."""
        self.processes.beat_soon()
        self._catch_up()

    async def compare(self) -> None:
        """Follow the edits and deletions that nobody told of."""
        self._catch_up()

    async def tell_news(self) -> None:
        """Tell who joined the cast, is another age now, or has left, where that was not told yet."""
        await tell_news(self.store, self.cast, self.registrar)

    def _catch_up(self) -> None:
        for room in self.rooms.values():
            room.take(CatchUp())

    def _play(self, channel_id: int, spec: SceneSpec, key: str) -> None:
        self.rooms[channel_id].play_soon(spec, key)

    async def _expire(self) -> None:
        try:
            expired = await self.store.expire(datetime.now(UTC))
            await drop_old_notes(self.store)
        except StoreError as error:
            log.error("what was kept long enough could not be deleted: %s", error)
            return
        if expired:
            log.info("%d messages of people were kept long enough and are gone", expired)


def _state(account: Account, *, runs: bool) -> Mapping[str, Any]:
    return {
        "runs": runs,
        "online": account.online.is_set(),
        "problem": account.problem,
        "user_id": None if account.user_id is None else str(account.user_id),
    }


def is_chosen(persona: Persona, only: Collection[str]) -> bool:
    """Whether a self is to be run here; without `only`, all are."""
    return not only or persona.name in only


def check(cast: Cast, tokens: Mapping[str, str], only: Collection[str]) -> None:
    """Raise UsageError, with what to do, when there is too little to run with."""
    variable = cast.discord.registrar_token
    guide = "docs/discord.md shows how to make one"
    if not tokens.get(variable) and (not only or REGISTRAR in only):
        raise UsageError(f"{variable} is not set: the registrar has no token", guide)
    wanted = [p for p in cast.persona if is_chosen(p, only)]
    guests = cast.discord.guests and any(not p.token for p in cast.persona)
    if not any(tokens.get(p.token) for p in wanted) and not guests and REGISTRAR not in only:
        variables = ", ".join(p.token or f"none named for {p.name}" for p in wanted)
        raise UsageError(f"none of the selves has a token ({variables})", guide)
    values = [tokens[v] for v in {variable, *(p.token for p in wanted)} if tokens.get(v)]
    if len(set(values)) < len(values):
        raise UsageError(
            "two bots have the same token", "each self, and the registrar, is an application of its own"
        )
    if not cast.discord.channels:
        raise UsageError(
            "the selves have no channel",
            "put its id under [discord] into the cast file: channels = [123456789012345678]",
        )
    for schedule in cast.schedule:
        if schedule.channel not in cast.discord.channels:
            raise UsageError(
                f"scene {schedule.scene!r} is scheduled in {schedule.channel}, where the selves do not live",
                "add it to `channels` under [discord], or schedule the scene in one of those",
            )


async def all_of(works: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Do all of this at once until one ends or fails, or this is cancelled; the others are then stopped.

    Not a task group: it would wrap what one raises.
    """
    tasks = [asyncio.ensure_future(work()) for work in works]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        await stop(tasks)


async def stop(tasks: Collection[asyncio.Task[None] | asyncio.Future[None]]) -> None:
    """Cancel these, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


@asynccontextmanager
async def open_fleet(
    house: House,
    company: Company,
    only: Collection[str] = (),
    on_newcomers: Callable[[], None] = lambda: None,
) -> AsyncIterator[Fleet]:
    """Yield a fleet with an open store and an engine, ready to `run`; `on_newcomers` is told of new ages."""
    from memory.store import open_store
    from serving.address import serving_address

    cast, tokens = company
    check(cast, tokens, only)
    async with (
        open_store(house.database_url) as store,
        serving_address(house, cast, on_wait=lambda what: log.info("%s", what)) as url,
        Voice(url, house.api_key) as voice,
    ):
        newcomers = Newcomers(store, house.checkpoints, on_newcomers)
        await newcomers.look()
        yield Fleet(cast, store, voice, tokens, only=only, newcomers=newcomers)
