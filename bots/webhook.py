"""Guests: selves without an account of their own, who speak through a webhook of the registrar.

One webhook for each channel, made when it is first needed (Manage Webhooks); each message names its speaker.
Guests can be called by name and replied to, but not mentioned. Discord knows no nonces here, so whatever may
have arrived is looked for in the channel before it is posted again; and discord.py, which would simply try
again, is not asked to post. Nobody sees a webhook typing, so the registrar is seen typing for its guests.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import aiohttp
import discord
from discord.http import Route

from bots.account import PATIENT, Account, Pauses, refusal, refused_with
from bots.breaker import Breaker
from bots.splitting import split
from bots.streaming import MARK
from selves.errors import DiscordError, RefusedError

log = logging.getLogger("selves.bots")

NAME = "Selves"
"""The webhook's own name; nobody sees it but who may manage it."""
CLOCKS_DIFFER = timedelta(seconds=30)
FIX = "give the registrar the permission Manage Webhooks; `selves bots check` has the link"


class Hook(NamedTuple):
    """Where to post for a channel."""

    url: str
    """Secret: whoever knows it may post."""
    query: str
    """Of a thread its id, since its channel's webhook is used."""


class Webhooks:
    """The registrar's webhooks, one for each channel."""

    def __init__(self, registrar: Account, breaker: Breaker, pauses: Pauses = PATIENT) -> None:
        self.registrar = registrar
        self._breaker, self._pauses = breaker, pauses
        self._hooks: dict[int, Hook] = {}

    async def post(self, channel_id: int, name: str, text: str) -> int:
        """Post a text under a name, in several messages if it is long; return the id of the first.

        Raises DiscordError.
        """
        async with aiohttp.ClientSession(trace_configs=[self._breaker.trace()]) as session:
            first, *rest = split(text)
            first_id = await self._post_part(session, channel_id, name, first)
            for part in rest:
                try:
                    await self._post_part(session, channel_id, name, part)
                except RefusedError as error:
                    log.error("the rest of a long message of %s is left out: %s", name, error)
                    break
        return first_id

    async def find_posted(self, channel_id: int, name: str, text: str, since: datetime) -> int | None:
        """Return the id under which a guest posted a text since then, if it did. Raises DiscordError."""
        first = split(text)[0]
        said = await self._said_since(channel_id, name, since)
        return next((message.id for message in said if message.content == first), None)

    async def half_said(self, channel_id: int, name: str, message_id: int) -> list[int]:
        """Return the ids of a guest's messages after this one that are not whole. Raises DiscordError."""
        said = await self._said_since(channel_id, name, discord.Object(message_id))
        return [message.id for message in said if message.content.endswith(MARK)]

    async def _said_since(
        self, channel_id: int, name: str, since: datetime | discord.Object
    ) -> list[discord.Message]:
        client = await self.registrar.client()
        history = client.get_partial_messageable(channel_id).history(
            after=since, limit=500, oldest_first=True
        )
        try:
            return [m async for m in history if m.webhook_id and m.author.name == name]
        except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
            raise refusal(error)(f"the registrar cannot read channel {channel_id}: {error}") from error

    async def change(self, channel_id: int, name: str, message_id: int, text: str | None) -> None:
        """Change a guest's message, or delete it (None); one that is gone is no trouble.

        Raises DiscordError.
        """
        trouble = ""
        body: dict[str, Any] = {"content": text, "allowed_mentions": {"parse": []}}
        async with aiohttp.ClientSession(trace_configs=[self._breaker.trace()]) as session:
            for pause_s in (0.0, *self._pauses.posts_s):
                await asyncio.sleep(pause_s)
                hook = await self._hook(channel_id)
                address = f"{hook.url}/messages/{message_id}?{hook.query}"
                ask = session.delete(address) if text is None else session.patch(address, json=body)
                try:
                    async with ask as answer:
                        if answer.status in (200, 204, 404):
                            return
                        trouble = await self._trouble(answer, name)
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    trouble = type(error).__name__
        raise DiscordError(f"a message of {name} could not be changed: {trouble}", FIX)

    async def _post_part(self, session: aiohttp.ClientSession, channel_id: int, name: str, text: str) -> int:
        since = datetime.now(UTC) - CLOCKS_DIFFER
        body = {"content": text, "username": name, "allowed_mentions": {"parse": []}}
        unsure, trouble = False, ""
        for pause_s in (0.0, *self._pauses.posts_s):
            await asyncio.sleep(pause_s)
            if unsure and (found := await self.find_posted(channel_id, name, text, since)) is not None:
                return found
            hook = await self._hook(channel_id)
            try:
                async with session.post(f"{hook.url}?wait=true&{hook.query}", json=body) as answer:
                    if answer.status == 200:
                        return int((await answer.json())["id"])
                    if answer.status == 404:
                        self._hooks.pop(channel_id)  # somebody deleted the webhook
                    trouble = await self._trouble(answer, name)
                    unsure = unsure or answer.status >= 500
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                # the error's own words may hold the webhook's secret address
                unsure, trouble = True, type(error).__name__
            log.warning("%s could not speak through the webhook: %s", name, trouble)
        raise DiscordError(f"{name} could not speak through the webhook: {trouble}", FIX)

    async def _trouble(self, answer: aiohttp.ClientResponse, name: str) -> str:
        """Say what was answered, after waiting if that was asked for.

        Raises DiscordError for a refusal, RefusedError if it is one for good.
        """
        trouble = f"{answer.status} {answer.reason}"
        if answer.status == 429:
            await asyncio.sleep(float((await answer.json()).get("retry_after", 1)))
        elif answer.status < 500 and answer.status != 404:
            raise refused_with(answer.status, await _code(answer))(
                f"Discord refused a line of {name}: {trouble}", FIX
            )
        return trouble

    async def _hook(self, channel_id: int) -> Hook:
        """Where to post for a channel."""
        if channel_id in self._hooks:
            return self._hooks[channel_id]
        client = await self.registrar.client()
        try:
            channel = await client.fetch_channel(channel_id)
            thread = isinstance(channel, discord.Thread)
            owner = channel.parent_id if isinstance(channel, discord.Thread) else channel_id
            found: list[Any] = await client.http.channel_webhooks(owner)
            mine = [h for h in found if str(h.get("application_id")) == str(client.application_id)]
            hook = next((h for h in mine if h.get("token")), None) or await client.http.create_webhook(
                owner, name=NAME
            )
        except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
            raise refusal(error)(
                f"there can be no webhook in channel {channel_id}: {getattr(error, 'text', error)}", FIX
            ) from error
        query = f"thread_id={channel_id}" if thread else ""
        self._hooks[channel_id] = Hook(f"{Route.BASE}/webhooks/{hook['id']}/{hook['token']}", query)
        return self._hooks[channel_id]


async def _code(answer: aiohttp.ClientResponse) -> int:
    """Discord's own code for why it refused; 0 if it says none."""
    try:
        told = await answer.json(content_type=None)
    except (ValueError, aiohttp.ClientError):
        return 0
    return int(told.get("code", 0)) if isinstance(told, dict) else 0


class Guest(Account):
    """A self that speaks through the webhooks. It is there when the registrar is."""

    def __init__(self, name: str, webhooks: Webhooks, pauses: Pauses = PATIENT) -> None:
        super().__init__(name, "", "", _no_client, pauses)
        self.online, self.tried = webhooks.registrar.online, webhooks.registrar.tried
        self._webhooks = webhooks

    async def client(self) -> discord.Client:
        """The registrar's. Raises DiscordError."""
        return await self._webhooks.registrar.client()

    async def post(self, channel_id: int, text: str, *, nonce: str, reply_to: int | None = None) -> int:  # noqa: ARG002
        """Post a text; webhooks know neither nonces nor replies. Raises DiscordError."""
        return await self._webhooks.post(channel_id, self.name, text)

    async def post_rest(self, channel_id: int, parts: Sequence[str], *, nonce: str) -> None:  # noqa: ARG002
        """Post all but the first part of a long message. Raises DiscordError."""
        for part in parts[1:]:
            await self._webhooks.post(channel_id, self.name, part)

    async def find_posted(self, channel_id: int, text: str, since: datetime) -> int | None:
        """Return the id under which it posted a text since then, if it did. Raises DiscordError."""
        return await self._webhooks.find_posted(channel_id, self.name, text, since)

    async def edit(self, channel_id: int, message_id: int, text: str) -> None:
        """Change a message of its own. Raises DiscordError."""
        await self._webhooks.change(channel_id, self.name, message_id, text)

    async def delete(self, channel_id: int, message_id: int) -> None:
        """Take a message of its own away. Raises DiscordError."""
        await self._webhooks.change(channel_id, self.name, message_id, None)

    async def replies_to(self, channel_id: int, message_id: int) -> list[int]:
        """Return what it left half said since a message: a webhook cannot reply. Raises DiscordError."""
        return await self._webhooks.half_said(channel_id, self.name, message_id)

    @asynccontextmanager
    async def typing(self, channel_id: int) -> AsyncIterator[None]:
        """Let the registrar be seen typing while the block runs."""
        async with self._webhooks.registrar.typing(channel_id):
            yield


def _no_client() -> discord.Client:
    raise AssertionError("a guest has no client of its own")
