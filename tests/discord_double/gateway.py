"""The gateway: sessions over websockets, with identify, heartbeats, resume, and every way to be cut off.

A session outlives its socket: events are numbered and kept, so RESUME gets what was missed. What a
session is sent depends on its intents, as on Discord.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.discord_double import objects
from tests.discord_double.state import VIEW_CHANNEL, Bot, Event, Json, World

GUILDS, MESSAGES, REACTIONS, TYPING, CONTENT = 1 << 0, 1 << 9, 1 << 10, 1 << 11, 1 << 15
PRIVATE = 3
"""Messages, reactions and typing in private have their intents so many bits higher."""
PRIVILEGED = 1 << 1 | 1 << 8 | CONTENT
NEEDED_INTENT = {
    "MESSAGE_CREATE": MESSAGES,
    "MESSAGE_UPDATE": MESSAGES,
    "MESSAGE_DELETE": MESSAGES,
    "MESSAGE_DELETE_BULK": MESSAGES,
    "MESSAGE_REACTION_ADD": REACTIONS,
    "MESSAGE_REACTION_REMOVE": REACTIONS,
    "TYPING_START": TYPING,
}


class Connection:
    """One websocket. Sends are queued, so that the world's changes need not wait for the network."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        self._request = request
        self.socket = socket
        self._queue: asyncio.Queue[Json | int] = asyncio.Queue()

    def send(self, payload: Json) -> None:
        self._queue.put_nowait(payload)

    def close(self, code: int) -> None:
        """Close properly, after all that was sent before."""
        self._queue.put_nowait(code)

    def drop(self) -> None:
        """Cut the TCP connection without a word."""
        if self._request.transport is not None:
            self._request.transport.abort()

    async def write(self) -> None:
        while True:
            item = await self._queue.get()
            if isinstance(item, int):
                await self.socket.close(code=item)
                return
            await self.socket.send_str(json.dumps(item))


@dataclass(eq=False)
class Session:
    id: str
    bot: Bot
    intents: int
    connection: Connection | None
    sequence: int = 0
    sent: list[Json] = field(default_factory=list)

    def dispatch(self, name: str, data: Any) -> None:
        self.sequence += 1
        payload = {"op": 0, "t": name, "s": self.sequence, "d": data}
        self.sent.append(payload)
        if self.connection:
            self.connection.send(payload)


class Gateway:
    """All sessions, and the switches that make them fail."""

    def __init__(self, world: World, changed: Callable[[], None]) -> None:
        self._world = world
        self._changed = changed
        self.url = ""
        self.sessions: dict[str, Session] = {}
        self.connections: set[Connection] = set()
        self.heartbeat_interval_ms = 41_250
        self.acknowledges = True
        """False: heartbeats go unanswered, as when a connection has died without a word."""
        self.resumes = 0
        """How many times a session was resumed."""
        self.refused_resumes = 0

    def session_of(self, bot: Bot) -> Session | None:
        """The bot's newest session that has a socket."""
        live = [s for s in self.sessions.values() if s.bot is bot and s.connection is not None]
        return live[-1] if live else None

    def forget_sessions(self, bot: Bot) -> None:
        """Cut the bot off and lose its session: RESUME will be refused and missed events are gone."""
        for session in [s for s in self.sessions.values() if s.bot is bot]:
            del self.sessions[session.id]
            if session.connection:
                session.connection.drop()

    def announce(self, event: Event) -> None:
        """Send an event to every session that may see it."""
        for session in list(self.sessions.values()):
            if event.only_for not in (None, session.bot):
                continue
            needed = NEEDED_INTENT.get(event.name, 0)
            private = event.channel is not None and bool(event.channel.between)
            if needed and not session.intents & (needed << PRIVATE if private else needed):
                continue
            if event.channel and not self._world.permissions(session.bot.user, event.channel) & VIEW_CHANNEL:
                continue
            session.dispatch(event.name, self._data(event, session))
        self._changed()

    def _data(self, event: Event, session: Session) -> Json:
        if event.message is not None:
            with_content = bool(session.intents & CONTENT)
            return objects.message_event_json(
                self._world, event.message, session.bot, with_content=with_content
            )
        if event.name == "INTERACTION_CREATE":
            return objects.interaction_json(self._world, event.data["interaction"])
        if event.name == "THREAD_CREATE":
            return {**objects.thread_json(self._world, event.data["thread"]), "newly_created": True}
        if event.name in ("MESSAGE_REACTION_ADD", "TYPING_START") and "guild_id" in event.data:
            user = self._world.users[int(event.data["user_id"])]
            return {**event.data, "member": objects.member_json(self._world, user)}
        return event.data

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """One connection from HELLO to its end."""
        socket = web.WebSocketResponse(autoping=True)
        await socket.prepare(request)
        connection = Connection(request, socket)
        self.connections.add(connection)
        writer = asyncio.create_task(connection.write())
        connection.send({"op": 10, "d": {"heartbeat_interval": self.heartbeat_interval_ms}})
        session: Session | None = None
        try:
            async for frame in socket:
                if frame.type is not WSMsgType.TEXT:
                    break
                message = json.loads(frame.data)
                match message["op"]:
                    case 1:
                        if self.acknowledges:
                            connection.send({"op": 11, "d": None})
                    case 2:
                        session = self._identify(message["d"], connection)
                    case 6:
                        session = self._resume(message["d"], connection)
                    case 3 | 4:
                        pass
                    case 8:
                        self._send_members(message["d"], session)
                    case _:
                        connection.close(4001)
                self._changed()
        finally:
            writer.cancel()
            self.connections.discard(connection)
            if session is not None and session.connection is connection:
                session.connection = None
            self._changed()
        return socket

    def _identify(self, data: Json, connection: Connection) -> Session | None:
        bot = self._world.bot_by_token(data["token"])
        if bot is None:
            connection.close(4004)
            return None
        if data["intents"] & PRIVILEGED & ~(CONTENT if bot.message_content else 0):
            connection.close(4014)
            return None
        session = Session(f"session-{self._world.new_id()}", bot, data["intents"], connection)
        self.sessions[session.id] = session
        guild = {"id": str(self._world.guild_id), "unavailable": True}
        ready = {
            "v": 10,
            "user": objects.me_json(bot),
            "guilds": [guild],
            "session_id": session.id,
            "resume_gateway_url": self.url,
            "shard": [0, 1],
            "application": {"id": str(bot.id), "flags": objects.application_flags(bot)},
        }
        session.dispatch("READY", ready)
        session.dispatch("GUILD_CREATE", objects.guild_create_json(self._world, bot))
        return session

    def _resume(self, data: Json, connection: Connection) -> Session | None:
        session = self.sessions.get(data["session_id"])
        if session is None or session.bot.token != data["token"]:
            self.refused_resumes += 1
            connection.send({"op": 9, "d": False})
            return None
        session.connection = connection
        for payload in session.sent:
            if payload["s"] > data["seq"]:
                connection.send(payload)
        self.resumes += 1
        session.dispatch("RESUMED", {})
        return session

    def _send_members(self, data: Json, session: Session | None) -> None:
        if session is None:
            return
        wanted = data.get("user_ids") or []
        ids = {int(number) for number in (wanted if isinstance(wanted, list) else [wanted])}
        users = [user for user in self._world.users.values() if not ids or user.id in ids]
        chunk: Json = {
            "guild_id": str(self._world.guild_id),
            "members": [objects.member_json(self._world, user) for user in users],
            "chunk_index": 0,
            "chunk_count": 1,
            "not_found": [str(number) for number in ids if number not in self._world.users],
        }
        session.dispatch("GUILD_MEMBERS_CHUNK", {**chunk, "nonce": data.get("nonce")})
