"""A whole house on the double: real fleet, real store, real engine, and Anna who talks with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bots.account import Pauses
from bots.discord_api import Endpoints, pointed_at
from bots.fleet import Fleet
from bots.room import Pace
from memory.store import Store, open_store
from memory.types import Message as Kept
from selves.cast import Cast
from selves.speech import Utterance
from serving.voice import Voice
from tests.discord_double.server import Bot, Channel, Double, Human, Message

QUICK = Pace(quiet_s=0.05, patience_s=0.3, retry_s=0.05)
HASTY = Pauses(first_s=0.01, refused_s=0.1, longest_s=0.1, posts_s=(0.01,) * 5, login_s=60, typing_s=0)
SHORT = {"max_tokens": 12, "temperature": 1.0}
POSTS = r"/channels/\d+/messages"


@dataclass
class DiscordHouse:
    """Everything a test may want to look at or to break."""

    double: Double
    registrar: Bot
    selves: dict[str, Bot]
    room: Channel
    anna: Human
    path: Path
    serving_url: str
    extra: dict[str, Any] = field(default_factory=dict)
    """More of the cast file."""
    tokens: dict[str, str] = field(default_factory=dict)
    """Instead of the right ones."""

    @property
    def place(self) -> str:
        return f"discord:{self.room.id}"

    @property
    def database_url(self) -> str:
        return f"sqlite+aiosqlite:///{self.path / 'selves.db'}"

    def cast(self) -> Cast:
        ages = {"Ember": "tiny@chat-000008", "Spark": "tiny@base-000000", "Hoarse": "broken@base-000000"}
        personas = [
            {"name": name, "address": ages[name], "token": f"TOKEN_{name.upper()}", "sampling": SHORT}
            for name in self.selves
        ]
        meeting = {
            "name": "meeting",
            "cast": ["Ember", "Spark"],
            "opening": "Hi! How are you today?",
            "max_turns": 4,
        }
        return Cast.model_validate(
            {
                "discord": {
                    "registrar_token": "TOKEN_REGISTRAR",
                    "channels": [self.room.id],
                    "hear": "all",
                    "notice": False,
                },
                "persona": personas,
                "scene": [meeting, {**meeting, "name": "endless", "max_turns": 500}],
                **self.extra,
            }
        )

    def environment(self) -> dict[str, str]:
        right = {f"TOKEN_{name.upper()}": bot.token for name, bot in self.selves.items()}
        return {"TOKEN_REGISTRAR": self.registrar.token, **right, **self.tokens}

    @asynccontextmanager
    async def awake(
        self,
        *,
        wait: bool = True,
        pace: Pace = QUICK,
        only: Sequence[str] = (),
        process: str = "",
        lock_wait_s: float = 60,
        pauses: Pauses = HASTY,
    ) -> AsyncIterator[Awake]:
        """The selves are on Discord as long as the block runs; `only` some of them, as one of several
        processes.
        """
        async with (
            open_store(self.database_url, lock_wait_s=lock_wait_s) as store,
            Voice(self.serving_url) as voice,
        ):
            with pointed_at(Endpoints.from_environment(self.double.environment)):
                fleet = Fleet(
                    self.cast(),
                    store,
                    voice,
                    self.environment(),
                    only=only,
                    pace=pace,
                    pauses=pauses,
                    guild_wait_s=0.02,
                    process=process,
                    beat_s=0.1 if only else 4,
                )
                running = asyncio.create_task(fleet.run())
                running.add_done_callback(lambda _: self.double.look_again())
                try:
                    bots = [self.registrar, *self.selves.values()]
                    if wait:
                        await self.double.until(lambda: running.done() or self.double.is_online(*bots))
                    yield Awake(self, fleet, store)
                    assert not running.done(), running.exception()
                finally:
                    running.cancel()
                    await asyncio.wait([running])

    def said(self, *names: str) -> list[Message]:
        """What these selves (or all) have posted."""
        bots = [self.selves[name] for name in names or self.selves]
        return [m for m in self.room.messages.values() if m.author in [bot.user for bot in bots]]

    async def until_said(self, count: int, *names: str) -> list[Message]:
        return await self.double.until(lambda: len(self.said(*names)) >= count and self.said(*names))


@dataclass
class Awake:
    """A house whose selves are on Discord."""

    house: DiscordHouse
    fleet: Fleet
    store: Store

    async def until_caught_up(self) -> None:
        """Wait until all are ready and have looked at what they missed."""
        accounts = [self.fleet.registrar, *self.fleet.speakers.values()]

        async def all_ready() -> bool:
            return all([a.online.is_set() and (await a.client()).is_ready() for a in accounts])

        await eventually(all_ready)
        await self.fleet.rooms[self.house.room.id].settle()

    async def kept(self) -> list[Kept]:
        """All messages of this channel in the database."""
        scenes = await self.store.scenes(place=self.house.place)
        return [m for scene in scenes for m in await self.store.messages(scene.id)]

    async def settled(self) -> list[Kept]:
        """All that was said and is waiting for nothing."""
        await eventually(self._nothing_pending)
        return await self.kept()

    async def _nothing_pending(self) -> bool:
        return not await self.store.unposted(self.house.place)


def end_when_seen(monkeypatch: pytest.MonkeyPatch, house: DiscordHouse) -> None:
    """Let no answer be whole before something of it stands in the channel, however fast the engine is."""
    stream = Voice.stream

    async def stream_until_seen(*arguments: Any, **options: Any) -> AsyncIterator[str | Utterance]:
        before = len(house.room.messages)
        async for piece in stream(*arguments, **options):
            if isinstance(piece, Utterance):
                await house.double.until(lambda: len(house.room.messages) > before)
            yield piece

    monkeypatch.setattr(Voice, "stream", stream_until_seen)


def far_off() -> str:
    """The cron of a moment of the day that does not come while a test runs."""
    return f"0 {(datetime.now(UTC).hour + 12) % 24} * * *"


async def eventually(check: Callable[[], Awaitable[object]], timeout_s: float = 600) -> None:
    """Ask again until it is so."""
    async with asyncio.timeout(timeout_s):
        while not await check():  # noqa: ASYNC110 (the database tells nobody)
            await asyncio.sleep(0.005)


class LogLines(logging.Handler):
    """Every line of the log as it would be written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@asynccontextmanager
async def open_house(path: Path, serving_url: str) -> AsyncIterator[DiscordHouse]:
    """A house with Ember and Spark, a channel and Anna; nobody is online yet."""
    async with Double() as double:
        yield DiscordHouse(
            double,
            double.add_bot("House", message_content=True),
            {name: double.add_bot(name) for name in ("Ember", "Spark")},
            double.add_channel("parlor"),
            double.add_human("Anna"),
            path,
            serving_url,
        )
