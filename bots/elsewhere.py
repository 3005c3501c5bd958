"""A self whose account another process runs: what it shall say is left in the database, and posted there.

Stands in for `bots.account.Account` in the process that has the floor. `Errands` is the other end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import discord

from bots.account import PATIENT, TYPING_S, Account, Pauses
from bots.discord_channel import DiscordChannel
from bots.posting import post_kept
from memory import states
from memory.outbox import outcome_of
from memory.store import Store
from memory.types import Message
from selves.errors import DiscordError, RefusedError, StoreError

log = logging.getLogger("selves.bots")

LOOK_S = 0.1
"""How often both ends look into the database."""
AGAIN_S = 30.0
"""What could not be posted is tried again after so long."""
PLACE = "discord:"
TYPING = "typing:"
"""Begins the keys of states that say where a self of another process thinks."""


class Elsewhere(Account):
    """See the module."""

    may_grow = False

    def __init__(self, name: str, variable: str, store: Store, pauses: Pauses = PATIENT) -> None:
        super().__init__(name, variable, "", _no_client, pauses)
        self.tried.set()
        self._store = store
        self.hear(None)

    def hear(self, told: Mapping[str, Any] | None) -> None:
        """Take in what its process tells of it; None when no process does."""
        state = told or {"online": False, "problem": "no process runs it"}
        if state.get("user_id"):
            self.user_id = int(state["user_id"])
        self.problem = state["problem"]
        if state["online"]:
            self.online.set()
        else:
            self.online.clear()

    async def client(self) -> discord.Client:
        """There is none here. Raises DiscordError."""
        raise DiscordError(f"{self.name} is run by another process")

    async def post(self, channel_id: int, text: str, *, nonce: str, reply_to: int | None = None) -> int:  # noqa: ARG002
        """Wait until the other process has posted what was kept under this nonce.

        Raises DiscordError; RefusedError when it has given that up.
        """
        try:
            async with asyncio.timeout(self._pauses.login_s):
                while (outcome := await outcome_of(self._store, nonce)) is None:  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise DiscordError(
                f"{self.name}, whom another process runs, has not posted: {self.problem or 'it is silent'}"
            ) from None
        if outcome.platform_id is None:
            raise RefusedError(outcome.refused or f"what {self.name} was to say is gone")
        return outcome.platform_id

    async def post_rest(self, channel_id: int, parts: Sequence[str], *, nonce: str) -> None:
        """Done: the other process posts messages whole."""

    async def find_posted(self, channel_id: int, text: str, since: datetime) -> None:  # noqa: ARG002
        """Looked for where its account is."""
        return

    async def replies_to(self, channel_id: int, message_id: int) -> list[int]:  # noqa: ARG002
        """Looked for where its account is."""
        return []

    async def react(self, channel_id: int, message_id: int, emoji: str) -> None:
        """Left out: reactions are the registrar's."""

    async def type_once(self, channel_id: int) -> None:
        """Have the other process show it."""
        try:
            await states.put(self._store, TYPING + self.name, {"channel": str(channel_id)})
        except StoreError as error:
            log.debug("%s cannot show that it is typing: %s", self.name, error)


def _no_client() -> discord.Client:
    raise AssertionError("another process has it")


class Errands:
    """Posts what another process, which has the floor, kept for this process's selves."""

    def __init__(
        self,
        store: Store,
        mine: Callable[[], Mapping[str, Account]],
        is_wanted: Callable[[], bool],
    ) -> None:
        """`is_wanted` says whether another process has the floor."""
        self._store, self._mine, self._is_wanted = store, mine, is_wanted
        self._not_before: dict[int, float] = {}
        self._typed: dict[str, datetime] = {}
        """When it was asked for what is shown, by self."""
        self._works: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                if self._is_wanted():
                    unposted = await self._store.unposted()
                    await self._type({message.speaker for message in unposted})
                    for message in unposted:
                        await self._post(message)
            except StoreError as error:
                log.error("what is to be posted here could not be read: %s", error)
                await asyncio.sleep(AGAIN_S)
            await asyncio.sleep(LOOK_S)

    async def _type(self, speaking: Collection[str]) -> None:
        """Show who thinks, and is not about to speak. Whatever was asked for long ago is over."""
        now = self._store.clock()
        for key, state in (await states.find(self._store, TYPING)).items():
            name = key.removeprefix(TYPING)
            if name in speaking or name not in self._mine() or self._typed.get(name) == state.at:
                continue
            self._typed[name] = state.at
            if now - state.at < timedelta(seconds=TYPING_S):
                channel = int(state.value["channel"])
                work = asyncio.create_task(self._mine()[name].type_once(channel))
                self._works.add(work)
                work.add_done_callback(self._works.discard)

    async def _post(self, message: Message) -> None:
        account = self._mine().get(message.speaker)
        channel = message.place.removeprefix(PLACE)
        now = asyncio.get_running_loop().time()
        if (
            account is None
            or message.address is None
            or not account.online.is_set()
            or not message.place.startswith(PLACE)
            or not channel.isdecimal()
            or not self._is_wanted()
            or self._not_before.get(message.id, 0) > now
        ):
            return
        place = DiscordChannel(int(channel), self._store, {message.speaker: account}, account, lambda: False)
        try:
            await post_kept(self._store, message, place.post(message))
        except DiscordError as error:
            log.error("%s: %s", message.place, error)
            self._not_before[message.id] = now + AGAIN_S
