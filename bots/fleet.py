"""All of it together: the registrar, a speaker for each self, a room for each channel, the timetable."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime

from bots.account import PATIENT, Account, Pauses
from bots.hearing import CatchUp
from bots.registrar import Registrar
from bots.room import STEADY, Pace, Room
from bots.schedule import Timetable, upcoming
from bots.speaker import GUILD_WAIT_S, Speaker
from memory.store import Store
from selves.cast import Cast, SceneSpec
from selves.errors import DiscordError, StoreError, UsageError
from selves.files import disk_error
from selves.settings import House
from serving.voice import Voice

log = logging.getLogger("selves.bots")

FIRST_LOGIN_S = 30.0
"""How long the registrar waits for the selves, so that it knows them when people mention them."""
EXPIRY_S = 3600
"""How often people's words are looked through for what has been kept long enough."""
CRASH_PAUSE_S = 1.0


class Fleet:
    """Everything that runs while the selves are on Discord."""

    def __init__(
        self,
        cast: Cast,
        store: Store,
        voice: Voice,
        tokens: Mapping[str, str],
        *,
        only: Collection[str] = (),
        pace: Pace = STEADY,
        pauses: Pauses = PATIENT,
        guild_wait_s: float = GUILD_WAIT_S,
    ) -> None:
        """Raises UsageError when the registrar's token, every self's token, or every channel is missing."""
        check(cast, tokens, only)
        self.cast, self.store, self._tokens = cast, store, tokens
        variable = cast.discord.registrar_token
        self.registrar = Account(
            "The registrar",
            variable,
            tokens[variable],
            lambda: Registrar(cast, self.speakers, self.rooms, self._came_online, guild_wait_s),
            pauses,
        )
        self.speakers = {
            persona.name: Account(
                persona.name,
                persona.token,
                tokens[persona.token],
                lambda: Speaker(self._came_online, guild_wait_s),
                pauses,
            )
            for persona in cast.persona
            if tokens.get(persona.token) and (not only or persona.name in only)
        }
        self.rooms = {
            channel: Room(
                channel,
                cast=cast,
                store=store,
                voice=voice,
                speakers=self.speakers,
                registrar=self.registrar,
                pace=pace,
            )
            for channel in cast.discord.channels
        }
        self.timetable = Timetable(cast, store, self._play)

    async def run(self) -> None:
        """Run until cancelled. Raises ConfigError or StoreError at once when the timetable cannot begin."""
        for line in self.introduction():
            log.info("%s", line)
        self.timetable.every(EXPIRY_S, self._expire)
        await self._expire()
        for room in self.rooms.values():
            await room.open_talk()
        tasks = [asyncio.create_task(account.keep_online()) for account in self.speakers.values()]
        for room in self.rooms.values():
            place = room.channel.place
            tasks.append(asyncio.create_task(keep_running(f"{place}, listening", room.listen)))
            tasks.append(asyncio.create_task(keep_running(f"{place}, speaking", room.coordinate)))
        try:
            await self._first_logins()
            tasks.append(asyncio.create_task(self.registrar.keep_online()))
            await self.timetable.start()
            # none of them ever ends by itself. Not gather: it would cancel them, and a second cancel below
            # would break into their cleaning up
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            self.timetable.stop()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _first_logins(self) -> None:
        """Wait for the selves, but not long: somebody whose login fails has tried, too."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOGIN_S):
                for account in self.speakers.values():
                    await account.tried.wait()

    def introduction(self) -> list[str]:
        """Say who is on board, and who is not and why."""
        lines = [f"on board: {', '.join(self.speakers)}"]
        for persona in self.cast.persona:
            if persona.name not in self.speakers:
                lines.append(f"not on board: {persona.name} ({self._why_absent(persona.token)})")
        for spec in self.cast.scene:
            absent = [name for name in spec.cast if name not in self.speakers]
            if absent:
                lines.append(f"scene {spec.name!r} cannot be played here without {', '.join(absent)}")
        for at, schedule in upcoming(self.cast.schedule, datetime.now(UTC), 1):
            lines.append(f"next scene: {schedule.scene!r} on {at:%A %d %B, %H:%M} {schedule.timezone}")
        return lines

    def _why_absent(self, variable: str) -> str:
        if not variable:
            return "no token in the cast file"
        return "not chosen" if self._tokens.get(variable) else f"{variable} is not set"

    def _came_online(self) -> None:
        """Somebody is there (again): compare what was missed, post what was left."""
        for room in self.rooms.values():
            room.take(CatchUp())

    def _play(self, channel_id: int, spec: SceneSpec, key: str) -> None:
        self.rooms[channel_id].play_soon(spec, key)

    async def _expire(self) -> None:
        try:
            expired = await self.store.expire(datetime.now(UTC))
        except StoreError as error:
            log.error("people's words could not be looked through: %s", error)
            return
        if expired:
            log.info("%d messages of people were kept long enough and are gone", expired)


def check(cast: Cast, tokens: Mapping[str, str], only: Collection[str]) -> None:
    """Raise UsageError, with what to do, when there is too little to run with."""
    variable = cast.discord.registrar_token
    guide = "docs/discord.md shows how to make one"
    if not tokens.get(variable):
        raise UsageError(f"{variable} is not set: the registrar has no token", guide)
    wanted = [p for p in cast.persona if not only or p.name in only]
    if not any(tokens.get(p.token) for p in wanted):
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


async def keep_running(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work`, and again when it fails: a defect in one room must not silence the others."""
    while True:
        task = asyncio.ensure_future(work())
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            log.error("%s failed and begins anew", name, exc_info=task.exception())
        await asyncio.sleep(CRASH_PAUSE_S)


@contextmanager
def only_one(house: House) -> Iterator[None]:
    """Hold the house's place on Discord: two processes would answer everything twice. Raises DiscordError."""
    path = house.home / "bots.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise disk_error(error, path) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DiscordError(
                "the selves of this house are on Discord already", "stop the other `selves bots run` first"
            ) from error
        yield


@asynccontextmanager
async def open_fleet(
    house: House, cast: Cast, tokens: Mapping[str, str], only: Collection[str] = ()
) -> AsyncIterator[Fleet]:
    """Yield a fleet with an open store and an engine, ready to `run`."""
    from memory.store import open_store
    from selves.lineage import list_ages
    from serving.address import serving_address

    check(cast, tokens, only)
    async with (
        open_store(house.database_url) as store,
        serving_address(house, cast, on_wait=lambda what: log.info("%s", what)) as url,
        Voice(url, house.api_key) as voice,
    ):
        for age in list_ages(house.checkpoints):
            await store.register_age(age)
        yield Fleet(cast, store, voice, tokens, only=only)
