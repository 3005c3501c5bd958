"""An answer that people see growing: posted when it begins, edited now and then, whole at last.

The selves keep what they say before they post it, and here some of it stands there before it is whole. So a
note is made first; whoever finds that note after a crash takes away what was left half said
(`take_back_torsos`), and the answer is drawn anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Self

from bots.account import Account, nonce_of
from bots.discord_channel import DiscordChannel
from bots.splitting import LIMIT, split
from memory import states
from memory.posted import message_at
from memory.store import Store
from selves.errors import RefusedError

log = logging.getLogger("selves.bots")

PAUSE_S = 1.2
"""Between two edits. Discord slows down who edits more often."""
MARK = " ▌"
"""Stands at the end as long as there is more to come."""


class Growing:
    """One answer while it is drawn. Use it as a context manager around the drawing."""

    def __init__(
        self,
        store: Store,
        channel: DiscordChannel,
        account: Account,
        *,
        reply_to: int,
        nonce: str,
        is_fit: Callable[[str], bool],
    ) -> None:
        self._store, self._channel, self._account = store, channel, account
        self._reply_to, self._is_fit = reply_to, is_fit
        # another one than the answer's own, which is not known yet; the same when it is tried again
        self._nonce = nonce_of(f"{nonce}:{account.name}:growing")
        self._text = ""
        self._changed = asyncio.Event()
        self._id: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._busy = asyncio.Lock()
        """Held while Discord is told something: that is not broken off, or nobody knew what stands there."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        async with self._busy:
            self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled() and (error := self._task.exception()):
            log.warning("%s: an answer cannot be shown while it grows: %s", self._channel.place, error)

    def show(self, text: str) -> None:
        """Say how much there is by now."""
        if text and text != self._text:
            self._text = text
            self._changed.set()

    async def become(self, text: str, nonce: str) -> int | None:
        """Let the whole text stand there and return its id; None when nothing was shown yet.

        What does not fit into one message follows, as `post` would post it. Raises DiscordError.
        """
        if self._id is None:
            return None
        parts = split(text)
        await self._account.edit(self._channel.channel_id, self._id, parts[0])
        await self._account.post_rest(self._channel.channel_id, parts, nonce=nonce)
        return self._id

    async def settled(self) -> None:
        """The whole answer is kept as posted: nothing is half said any more."""
        await states.put(self._store, _key(self._channel.place), None)

    async def withdraw(self) -> None:
        """Take away what was shown: there is no answer after all."""
        if self._id is not None:
            await self._account.delete(self._channel.channel_id, self._id)
            self._id = None
        await self.settled()

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if not self._is_fit(self._text):
                continue
            async with self._busy:
                await self._tell(f"{split(self._text, LIMIT - len(MARK))[0]}{MARK}")
            await asyncio.sleep(PAUSE_S)

    async def _tell(self, text: str) -> None:
        if self._id is not None:
            await self._account.edit(self._channel.channel_id, self._id, text)
            return
        note = {"account": self._account.name, "reply_to": str(self._reply_to)}
        await states.put(self._store, _key(self._channel.place), note)
        self._id = await self._account.post(
            self._channel.channel_id, text, nonce=self._nonce, reply_to=self._reply_to
        )


async def take_back_torsos(store: Store, channel: DiscordChannel, accounts: Mapping[str, Account]) -> None:
    """Delete what a killed process left half said in a channel. Raises DiscordError."""
    note = await states.get(store, _key(channel.place))
    if note is None:
        return
    account = accounts.get(note["account"])
    if account is None or not account.online.is_set():
        return
    try:
        for message_id in await account.replies_to(channel.channel_id, int(note["reply_to"])):
            if await message_at(store, message_id) is None:
                await account.delete(channel.channel_id, message_id)
    except RefusedError as error:
        log.error("%s: what was left half said stays there: %s", channel.place, error)
    await states.put(store, _key(channel.place), None)


def _key(place: str) -> str:
    return f"growing:{place}"
