"""One bot account on Discord: kept online by itself, whatever befalls the others.

discord.py reconnects and resumes on its own. What it gives up on (a refused token, a missing intent, an event
it cannot parse, a long outage) ends its client for good; `Account` then says why, waits, and starts a new
one. Posting goes through here too, with a nonce, so that trying again posts nothing twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import aiohttp
import discord

from bots.splitting import split
from selves.errors import DiscordError, RefusedError
from selves.files import sha256_text

log = logging.getLogger("selves.bots")
Result = TypeVar("Result")

TYPING_S = 8.0
"""Discord shows "typing" for ten seconds."""
FOR_NOW = (20016, 20022, 20028, 20029, 40004, 40006, 40062, 130000)
"""Codes of refusals that pass: slow mode and other limits, a feature switched off for a while, overload.
https://discord.com/developers/docs/topics/opcodes-and-status-codes#json"""
STEADY_S = 60.0
"""Who has been online this long is not failing any more."""


class Pauses(NamedTuple):
    """How long to wait before trying again, in seconds."""

    first_s: float = 1.0
    """After the first failure; each one after it doubles the wait."""
    refused_s: float = 60.0
    """The first wait when Discord refuses a token or intent. Asking often gets our whole address blocked."""
    longest_s: float = 1800.0
    posts_s: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)
    """Before each new attempt to post; discord.py has tried several times by itself before each."""
    login_s: float = 60.0
    """How long a post waits for an account that is not logged in."""
    goodbye_s: float = 5.0
    """How long a client may take to leave before it is told so again."""
    typing_s: float = 0.2
    """Who answers within this is not shown typing: nobody would see it."""


PATIENT = Pauses()


class Account:
    """A bot account and the client of the moment."""

    may_grow = True
    """Whether its answers can be shown while they grow."""

    def __init__(
        self,
        name: str,
        variable: str,
        token: str,
        make_client: Callable[[], discord.Client],
        pauses: Pauses = PATIENT,
    ) -> None:
        self.name = name
        self.variable = variable
        """The environment variable that holds the token."""
        self.user_id: int | None = None
        """Known from the first login on."""
        self.application_id: int | None = None
        self.problem = ""
        """Why it is offline; empty while all is well."""
        self.online = asyncio.Event()
        """Set while it is logged in."""
        self.tried = asyncio.Event()
        """Set when the first login went well or failed."""
        self._token = token
        self._make_client = make_client
        self._pauses = pauses
        self._client: discord.Client | None = None
        self._changed = asyncio.Event()
        """Set when it is to log in as somebody else."""

    def become(self, variable: str, token: str) -> None:
        """Be the account with this token from now on; whoever was logged in leaves."""
        if not self.is_for(variable, token):
            self.variable, self._token = variable, token
            self._changed.set()

    def is_for(self, variable: str, token: str) -> bool:
        """Whether it is the account with this token."""
        return (self.variable, self._token) == (variable, token)

    # ------------------------------------------------------------------ staying online

    async def keep_online(self) -> None:
        """Log in, stay, and come back after every failure. Runs until it is cancelled."""
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            self._changed.clear()
            life = asyncio.create_task(self._live(), name=f"discord {self.name}")
            changed = asyncio.create_task(self._changed.wait())
            try:
                await asyncio.wait([life, changed], return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
                # cancelled ourselves, or somebody else by now: let the client say goodbye
                while not life.done():
                    # again: in Python 3.11 `asyncio.wait_for`, by which discord.py waits for its connection,
                    # misses a cancellation that comes at the same moment
                    life.cancel()
                    await asyncio.wait([life], timeout=self._pauses.goodbye_s)
            if self._changed.is_set():
                log.info("%s is another account from now on", self.name)
                failures = 0
                continue
            error = life.exception() if not life.cancelled() else None
            failures = 1 if loop.time() - started > STEADY_S else failures + 1
            refused, why, fix = explain(error, self.variable)
            self.problem = why
            first_s = self._pauses.refused_s if refused else self._pauses.first_s
            pause_s = min(first_s * 2 ** min(failures - 1, 20), self._pauses.longest_s)
            # of a refusal everything is said; of anything else the traceback tells where
            trace = None if refused else error
            log.error(
                "%s is offline: %s. Trying again in %.0f s.%s",
                self.name,
                why,
                pause_s,
                f" Fix: {fix}." if fix else "",
                exc_info=trace,
            )
            self.tried.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._changed.wait()

    async def _live(self) -> None:
        client = self._make_client()
        try:
            async with client:
                await client.login(self._token)
                assert client.user is not None
                self.user_id, self.application_id = client.user.id, client.application_id
                self._client, self.problem = client, ""
                self.online.set()
                self.tried.set()
                log.info("%s is logged in", self.name)
                await client.connect()
        finally:
            self._client = None
            self.online.clear()

    @property
    def client_now(self) -> discord.Client | None:
        """The client, if it is logged in."""
        return self._client

    async def client(self) -> discord.Client:
        """Return the client, logged in; waits a while for one that is coming back. Raises DiscordError."""
        try:
            async with asyncio.timeout(self._pauses.login_s):
                await self.online.wait()
        except TimeoutError:
            why = self.problem or "it is still logging in"
            raise DiscordError(f"{self.name} is offline: {why}") from None
        assert self._client is not None
        return self._client

    # ------------------------------------------------------------------ doing things

    async def post(self, channel_id: int, text: str, *, nonce: str, reply_to: int | None = None) -> int:
        """Post a text, in several messages if it is long, and return the id of the first.

        The same nonce posts nothing twice, as long as Discord remembers it (some minutes). Outages, server
        errors and broken connections are waited out and tried again. Raises DiscordError when that does not
        help, RefusedError when Discord refuses for good.
        """
        first, *_ = parts = split(text)
        first_id = await self._post_part(channel_id, first, nonce=part_nonce(nonce, 0), reply_to=reply_to)
        await self.post_rest(channel_id, parts, nonce=nonce)
        return first_id

    async def _post_part(self, channel_id: int, text: str, *, nonce: str, reply_to: int | None) -> int:
        async def send(client: discord.Client) -> int:
            return await _send(client, channel_id, text, nonce=nonce, reply_to=reply_to)

        return await self._insist(f"post in channel {channel_id}", send)

    async def post_rest(self, channel_id: int, parts: Sequence[str], *, nonce: str) -> None:
        """Post all but the first part of a long message, with the nonces that `post` gives them.

        What is refused of it for good stays away: the message stands, if not to its end. Raises DiscordError.
        """
        for number, part in enumerate(parts[1:], 1):
            try:
                await self._post_part(channel_id, part, nonce=part_nonce(nonce, number), reply_to=None)
            except RefusedError as error:
                log.error("the rest of a long message in channel %s is left out: %s", channel_id, error)
                return

    async def edit(self, channel_id: int, message_id: int, text: str) -> None:
        """Change a message of its own into `text`, which fits into one. Raises DiscordError."""

        async def change(client: discord.Client) -> None:
            channel = client.get_partial_messageable(channel_id)
            await channel.get_partial_message(message_id).edit(content=text)

        await self._insist(f"edit a message in channel {channel_id}", change)

    async def delete(self, channel_id: int, message_id: int) -> None:
        """Take a message of its own away; one that is gone already is no trouble. Raises DiscordError."""

        async def take_away(client: discord.Client) -> None:
            channel = client.get_partial_messageable(channel_id)
            with contextlib.suppress(discord.NotFound):
                await channel.get_partial_message(message_id).delete()

        await self._insist(f"delete a message in channel {channel_id}", take_away)

    async def replies_to(self, channel_id: int, message_id: int) -> list[int]:
        """Return the ids of what this account replied to a message, oldest first. Raises DiscordError."""
        client = await self.client()
        history = client.get_partial_messageable(channel_id).history(
            after=discord.Object(message_id), limit=500, oldest_first=True
        )
        try:
            return [
                message.id
                async for message in history
                if message.author.id == self.user_id
                and message.reference is not None
                and message.reference.message_id == message_id
            ]
        except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
            raise refusal(error)(f"{self.name} cannot read channel {channel_id}: {error}") from error

    async def _insist(self, what: str, act: Callable[[discord.Client], Awaitable[Result]]) -> Result:
        """Do something on Discord, again and again until the pauses are used up. Raises DiscordError."""
        for pause_s in (*self._pauses.posts_s, None):
            client = await self.client()
            try:
                return await act(client)
            except discord.Forbidden as error:
                raise refusal(error)(
                    f"{self.name} may not {what}: {error.text}",
                    "`selves bots check` says which permission is missing",
                ) from error
            except discord.HTTPException as error:
                # a server of one's own may say "too often" in a way that discord.py does not wait for
                if error.status < 500 and error.status != 429:
                    raise refusal(error)(f"Discord did not let {self.name} {what}: {error}") from error
                trouble: Exception = error
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                trouble = error
            except RuntimeError as error:
                # its connection was closed under us, and another client will come
                if not client.is_closed():
                    raise
                trouble = error
            if pause_s is None:
                raise DiscordError(f"{self.name} could not {what}: {trouble}") from trouble
            log.warning("%s could not %s: %s. Trying again in %.0f s.", self.name, what, trouble, pause_s)
            await asyncio.sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")

    async def find_posted(self, channel_id: int, text: str, since: datetime) -> int | None:
        """Return the id under which this account posted a text since then, if it did. Raises DiscordError."""
        client = await self.client()
        first = split(text)[0]
        try:
            async for message in client.get_partial_messageable(channel_id).history(
                after=since, limit=500, oldest_first=True
            ):
                if message.author.id == self.user_id and message.content == first:
                    return message.id
        except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
            raise refusal(error)(f"{self.name} cannot read channel {channel_id}: {error}") from error
        return None

    async def react(self, channel_id: int, message_id: int, emoji: str) -> None:
        """Put a reaction on a message. That it cannot is logged and no reason to stop."""
        try:
            client = await self.client()
            channel = client.get_partial_messageable(channel_id)
            await channel.get_partial_message(message_id).add_reaction(emoji)
        except (discord.HTTPException, aiohttp.ClientError, OSError, DiscordError) as error:
            log.warning("%s could not react with %s: %s", self.name, emoji, error)

    @asynccontextmanager
    async def typing(self, channel_id: int) -> AsyncIterator[None]:
        """Show "typing" while the block runs. It is a courtesy: failures are ignored."""
        task = asyncio.create_task(self._type(channel_id))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _type(self, channel_id: int) -> None:
        await asyncio.sleep(self._pauses.typing_s)
        while True:
            await self.type_once(channel_id)
            await asyncio.sleep(TYPING_S)

    async def type_once(self, channel_id: int) -> None:
        """Show "typing" for some seconds. That it cannot is no trouble."""
        try:
            client = await self.client()
            await client.http.send_typing(channel_id)
        except (discord.HTTPException, aiohttp.ClientError, OSError, DiscordError, RuntimeError) as error:
            log.debug("%s cannot show that it is typing: %s", self.name, error)


async def _send(
    client: discord.Client, channel_id: int, text: str, *, nonce: str, reply_to: int | None
) -> int:
    channel = client.get_partial_messageable(channel_id)
    if reply_to is None:
        return (await channel.send(text, nonce=nonce)).id
    reference = Reply(message_id=reply_to, channel_id=channel_id)
    return (await channel.send(text, nonce=nonce, reference=reference)).id


class Reply(discord.MessageReference):
    """What is answered, by its id alone, as text: servers of one's own compare ids letter by letter."""

    def to_dict(self) -> Any:
        # somebody may have deleted what is answered; then it is a plain message
        return {"message_id": str(self.message_id), "fail_if_not_exists": False}

    to_message_reference_dict = to_dict


def refusal(error: Exception) -> type[DiscordError]:
    """Return RefusedError if what Discord answered holds for good, else DiscordError.

    Discord names its reason by a code. Without one it was somebody on the way, who may let it through later.
    """
    if not isinstance(error, discord.HTTPException):
        return DiscordError
    return refused_with(error.status, error.code)


def refused_with(status: int, code: int) -> type[DiscordError]:
    """The same for an HTTP status and a code of Discord's, 0 where there is none."""
    for_good = status in (400, 403, 404, 413) and code != 0 and code not in FOR_NOW
    return RefusedError if for_good else DiscordError


def explain(error: BaseException | None, variable: str) -> tuple[bool, str, str]:
    """Say in plain words why a client ended: whether Discord refused it, why, and what to do."""
    if isinstance(error, discord.LoginFailure) or (
        isinstance(error, discord.ConnectionClosed) and error.code == 4004
    ):
        fix = f"make a new token in the Developer Portal (Bot > Reset Token), put it into {variable}, restart"
        return True, f"Discord refuses the token in {variable}", fix
    if isinstance(error, discord.PrivilegedIntentsRequired):
        return (
            True,
            "the Message Content intent is not switched on",
            "switch it on in the Developer Portal, under Bot > Privileged Gateway Intents",
        )
    if isinstance(error, discord.HTTPException) and error.status in (401, 403, 429):
        return True, f"Discord refuses to talk with it: {error}", ""
    if error is None:
        return False, "its connection ended", ""
    return False, f"{type(error).__name__}: {error}", ""


def part_nonce(nonce: str, number: int) -> str:
    """Return the nonce of one part of a long message; the first part has the message's own."""
    return nonce if number == 0 else nonce_of(f"{nonce}:{number}")


def nonce_of(what: str) -> str:
    """Return a nonce that is always the same for the same, of 25 characters, which Discord takes at most."""
    return sha256_text(what)[:25]
