"""`Double`: a Discord of one's own for tests, on loopback sockets, for real discord.py clients.

    async with Double() as double:
        registrar = double.add_bot("Registrar", message_content=True)
        ember = double.add_bot("Ember")
        anna = double.add_human("Anna")
        room = double.add_channel("parlor")
        with pointed_at(Endpoints.from_environment(double.environment)):
            ...                                          # start clients with registrar.token, ember.token
        anna.post(room, f"hello {double.mention(ember)}")
        reply = await double.until(lambda: double.replies(room, by=ember))
        double.drop(registrar)                           # cut its TCP connection
        double.fail("POST", r"/channels/\\d+/messages", status=502, applied=True)

What is there: REST and gateway with identify, heartbeats, intents, RESUME with missed events; messages,
replies, edits, deletions, reactions, typing, history, nonces, permissions, threads, private conversations,
attached files, webhooks; slash commands, autocomplete, context menus, buttons and their answers; per-channel
rate limits. What can go wrong on demand: dropped sockets, op 7 and op 9, any close code, lost sessions,
silence instead of heartbeat answers, any status on any route before or after the request did its work,
requests that hang. What is missing: forms, select menus.

There is no sleeping and no polling: `until` looks again whenever a request came in or something changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

from aiohttp import web

from tests.discord_double.gateway import Gateway
from tests.discord_double.rest import PREFIX, Bucket, Fault, Request, Rest
from tests.discord_double.state import Bot, Channel, Event, Interaction, Message, User, World

Result = TypeVar("Result")


@dataclass(frozen=True)
class Human:
    """A person in the guild, who acts at once."""

    user: User
    world: World

    def post(
        self,
        channel: Channel,
        content: str,
        *,
        reply_to: Message | None = None,
        ago: timedelta = timedelta(0),
        files: Mapping[str, bytes] | None = None,
    ) -> Message:
        reply_to_id = reply_to.id if reply_to else None
        return self.world.post(self.user, channel, content, reply_to_id=reply_to_id, ago=ago, files=files)

    def begin_thread(self, channel: Channel, name: str, at: Message | None = None) -> Channel:
        return self.world.add_thread(channel, name, self.user, at)

    def private(self, bot: Bot) -> Channel:
        """The private conversation with a bot."""
        return self.world.private(self.user, bot)

    def edit(self, message: Message, content: str) -> None:
        self.world.edit(message, content)

    def delete(self, *messages: Message) -> None:
        self.world.delete(messages)

    def react(self, message: Message, emoji: str) -> None:
        self.world.react(self.user, message, emoji)

    def unreact(self, message: Message, emoji: str) -> None:
        self.world.react(self.user, message, emoji, remove=True)

    def type(self, channel: Channel) -> None:
        self.world.type(self.user, channel)

    def invoke(self, bot: Bot, channel: Channel, command: str, **options: Any) -> Interaction:
        """Use a slash command. Raises LookupError when the bot has not registered it."""
        return self.world.interact(bot, self.user, channel, command, options)

    def menu(self, bot: Bot, message: Message, command: str) -> Interaction:
        """Use a command of a message's context menu."""
        return self.world.menu(bot, self.user, message, command)

    def press(self, bot: Bot, message: Message, label: str) -> Interaction:
        """Press a button on a message of the bot."""
        return self.world.press(bot, self.user, message, label)

    def complete(self, bot: Bot, channel: Channel, command: str, option: str, typed: str) -> Interaction:
        """Type part of an option's value and wait for suggestions."""
        return self.world.interact(bot, self.user, channel, command, {option: typed}, focused=option)


class Double:
    """The server. See the module's docstring."""

    def __init__(self, clock: Callable[[], datetime] | None = None) -> None:
        self.world = World(clock)
        self._signal = asyncio.Event()
        self.gateway = Gateway(self.world, self.look_again)
        self.rest = Rest(self.world, self.look_again, lambda: self.gateway.url)
        self.world.announce = self.gateway.announce
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self.rest.middleware])
        app.add_routes(self.rest.routes())
        app.router.add_get("/gateway", self.gateway.handle)
        app.router.add_get("/gateway/", self.gateway.handle)
        app.router.add_get("/cdn/attachments/{file}/{name}", self.rest.file)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        self.world.cdn = f"{self.url}/cdn"
        self.gateway.url = f"ws://{host}:{port}/gateway"
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in list(self.gateway.connections):
            connection.drop()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point our bots here."""
        return {
            "SELVES_DISCORD_API": self.url + PREFIX,
            "SELVES_DISCORD_GATEWAY": self.gateway.url,
            "SELVES_DISCORD_CDN": self.url + "/cdn",
        }

    # ------------------------------------------------------------------ who and where

    def add_bot(self, name: str, *, message_content: bool = False) -> Bot:
        return self.world.add_bot(name, message_content=message_content)

    def add_human(self, name: str) -> Human:
        return Human(self.world.add_user(name), self.world)

    def add_channel(self, name: str) -> Channel:
        return self.world.add_channel(name)

    @staticmethod
    def mention(who: Bot | Human) -> str:
        return f"<@{who.user.id}>"

    def deny(self, bot: Bot, channel: Channel, permission: int) -> None:
        """Take permission bits from a bot in one channel."""
        channel.denied[bot.id] = channel.denied.get(bot.id, 0) | permission

    @staticmethod
    def allow(bot: Bot, permission: int) -> None:
        """Give a bot permission bits that not everybody has."""
        bot.user.permissions |= permission

    # ------------------------------------------------------------------ what has happened

    def messages(self, channel: Channel, *, by: Bot | Human | None = None) -> list[Message]:
        return [m for m in channel.messages.values() if by is None or m.author is by.user]

    def requests(self, method: str, path_part: str = "", *, by: Bot | None = None) -> list[Request]:
        """Requests so far, oldest first."""
        name = by.user.name if by else None
        return [
            r
            for r in self.rest.log
            if r.method == method and path_part in r.path and (name is None or r.bot == name)
        ]

    def is_online(self, *bots: Bot) -> bool:
        return all(self.gateway.session_of(bot) is not None for bot in bots)

    async def until(self, condition: Callable[[], Result], timeout_s: float = 600) -> Result:
        """Wait until `condition` is true and return its value; look again at every change.

        Raises AssertionError with the last requests when it takes too long.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not (result := condition()):
                    self._signal.clear()
                    await self._signal.wait()
                return result
        except TimeoutError:
            recent = "\n".join(f"  {r.bot}: {r.method} {r.path} -> {r.status}" for r in self.rest.log[-30:])
            raise AssertionError(f"this never came about; the last requests:\n{recent}") from None

    def look_again(self) -> None:
        """Wake those who wait in `until`: something that the server cannot see has changed."""
        self._signal.set()

    # ------------------------------------------------------------------ what shall go wrong

    def fail(self, method: str, path: str, **how: Any) -> Fault:
        """Make the next matching requests fail; see `Fault`. With status 429 it is one to be retried."""
        if how.get("status") == 429:
            retry_after_s = how.pop("retry_after_s", 0.02)
            how.setdefault("headers", {"Via": "1.1 double"})
            how.setdefault(
                "body",
                {"message": "You are being rate limited.", "retry_after": retry_after_s, "global": False},
            )
        fault = Fault(method, path, **how)
        self.rest.faults.append(fault)
        return fault

    def limit(self, method: str, path: str, limit: int, window_s: float) -> None:
        """Allow `limit` matching requests per bot, channel and `window_s`."""
        self.rest.buckets.append(Bucket(method, path, limit, window_s))

    def drop(self, bot: Bot) -> None:
        """Cut the bot's TCP connection. Its session stays: it may resume."""
        self._live(bot).connection.drop()
        self._live(bot).connection = None

    def forget(self, bot: Bot) -> None:
        """Cut the bot off and lose its session: it cannot resume and has missed what came since."""
        self.gateway.forget_sessions(bot)

    def reconnect(self, bot: Bot) -> None:
        """Send op 7: please reconnect and resume."""
        self._live(bot).connection.send({"op": 7, "d": None})

    def invalidate(self, bot: Bot, *, resumable: bool) -> None:
        """Send op 9."""
        session = self._live(bot)
        session.connection.send({"op": 9, "d": resumable})
        if not resumable:
            del self.gateway.sessions[session.id]

    def close(self, bot: Bot, code: int) -> None:
        """Close the bot's websocket with this code."""
        session = self._live(bot)
        session.connection.close(code)
        if code in (4007, 4009):
            del self.gateway.sessions[session.id]

    def forget_nonces(self) -> None:
        """Some minutes have passed: Discord no longer knows which nonces it has seen."""
        for channel in self.world.channels.values():
            for message in channel.messages.values():
                message.nonce = None

    def send_raw(self, bot: Bot, name: str, data: Any) -> None:
        """Send any event at all, however odd."""
        self._live(bot).dispatch(name, data)

    def _live(self, bot: Bot) -> Any:
        session = self.gateway.session_of(bot)
        assert session is not None, f"{bot.user.name} is not connected"
        return session


__all__ = ["Bot", "Channel", "Double", "Event", "Human", "Interaction", "Message"]
