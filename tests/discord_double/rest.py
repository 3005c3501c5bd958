"""The REST side: the routes that discord.py's clients use, with Discord's status and error codes.

Bodies are `application/json` without a charset (discord.py compares the header), 204s have none, and 429s
carry the `Via` header without which discord.py does not retry them.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from tests.discord_double import objects
from tests.discord_double.state import (
    ADD_REACTIONS,
    EPHEMERAL,
    MANAGE_MESSAGES,
    MANAGE_WEBHOOKS,
    READ_MESSAGE_HISTORY,
    SEND_MESSAGES,
    VIEW_CHANNEL,
    Bot,
    Channel,
    Interaction,
    Json,
    Message,
    User,
    World,
)
from tests.discord_double.webhooks import Webhooks, webhook_json

PREFIX = "/api/v10"
BOT = web.RequestKey[Bot | None]("bot")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Request:
    """One line of the request log."""

    method: str
    path: str
    """Without the /api/v10."""
    bot: str | None
    body: Any
    status: int


@dataclass
class Fault:
    """What goes wrong with the next `times` requests that match."""

    method: str
    path: str
    """A regular expression for the whole path without /api/v10."""
    status: int = 502
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    applied: bool = False
    """True: the request does its work and only the answer is lost."""
    drop: bool = False
    """True: the connection is cut instead of an answer."""
    bot: Bot | None = None
    """Only this bot's requests."""
    hold: asyncio.Event | None = None
    """The answer waits for this; with `applied` the work is done before."""
    met: int = 0
    """How many requests it has caught."""


@dataclass
class Bucket:
    """A rate limit: `limit` requests per `window_s` for each bot and channel."""

    method: str
    path: str
    limit: int
    window_s: float
    used: dict[str, tuple[float, int]] = field(default_factory=dict)

    def take(self, key: str) -> tuple[int, float]:
        """Count one request; returns what remains (-1: too many) and the seconds until the window ends."""
        now = time.monotonic()
        started, count = self.used.get(key, (now, 0))
        if now - started >= self.window_s:
            started, count = now, 0
        self.used[key] = (started, min(count + 1, self.limit))
        return self.limit - count - 1, self.window_s - (now - started)


class ApiError(Exception):
    """An error as Discord words it."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.body = status, {"code": code, "message": message}


def json_answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=json.dumps(body).encode(), status=status, content_type="application/json", headers=headers
    )


def empty() -> web.Response:
    return web.Response(status=204)


class Rest:
    """The routes over a `World`, the request log, and the faults."""

    def __init__(self, world: World, changed: Callable[[], None], gateway_url: Callable[[], str]) -> None:
        self._world = world
        self._changed = changed
        self._gateway_url = gateway_url
        self.log: list[Request] = []
        self.faults: list[Fault] = []
        self.buckets: list[Bucket] = []
        self.webhooks = Webhooks(world)
        self.is_foreign = False
        """Whether it is particular as a third-party server is: its JSON names a charset, ids must be text."""

    def routes(self) -> list[web.RouteDef]:
        message = "/channels/{channel}/messages/{message}"
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/users/@me", self._me),
            ("GET", "/users/@me/guilds", self._my_guilds),
            ("GET", "/oauth2/applications/@me", self._application),
            ("GET", "/applications/@me", self._application),
            ("GET", "/gateway", self._gateway),
            ("GET", "/gateway/bot", self._gateway),
            ("GET", "/guilds/{guild}", self._guild),
            ("GET", "/guilds/{guild}/roles", self._roles),
            ("GET", "/guilds/{guild}/channels", self._channels),
            ("GET", "/guilds/{guild}/members/{user}", self._member),
            ("GET", "/channels/{channel}", self._channel),
            ("GET", "/channels/{channel}/messages", self._history),
            ("POST", "/channels/{channel}/messages", self._post),
            ("POST", "/channels/{channel}/messages/bulk-delete", self._bulk_delete),
            ("POST", "/channels/{channel}/typing", self._typing),
            ("POST", "/channels/{channel}/threads", self._thread),
            ("POST", message + "/threads", self._thread),
            ("PUT", "/channels/{channel}/thread-members/@me", self._join),
            ("GET", message, self._message),
            ("PATCH", message, self._edit),
            ("DELETE", message, self._delete),
            ("GET", message + "/reactions/{emoji}", self._reactions),
            ("PUT", message + "/reactions/{emoji}/@me", self._react),
            ("DELETE", message + "/reactions/{emoji}/@me", self._react),
            ("GET", "/applications/{application}/commands", self._commands),
            ("PUT", "/applications/{application}/commands", self._commands),
            ("POST", "/interactions/{interaction}/{token}/callback", self._callback),
            ("GET", "/channels/{channel}/webhooks", self._channel_webhooks),
            ("POST", "/channels/{channel}/webhooks", self._channel_webhooks),
            ("POST", "/webhooks/{application}/{token}", self._webhook_or_follow_up),
            ("GET", "/webhooks/{application}/{token}/messages/@original", self._original),
            ("PATCH", "/webhooks/{application}/{token}/messages/@original", self._original),
            ("DELETE", "/webhooks/{application}/{token}/messages/@original", self._original),
            ("PATCH", "/webhooks/{application}/{token}/messages/{message}", self._change_by_webhook),
            ("DELETE", "/webhooks/{application}/{token}/messages/{message}", self._change_by_webhook),
        ]
        return [web.route(method, PREFIX + path, handler) for method, path, handler in table]

    # ------------------------------------------------------------------ around every request

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Who asks, what was asked, what should go wrong, and errors in Discord's words."""
        if not request.path.startswith(PREFIX):
            return await handler(request)
        path = request.path.removeprefix(PREFIX)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        bot = self._world.bot_by_token(token) if scheme == "Bot" else None
        request[BOT] = bot
        body = await body_of(request)
        fault = self._take_fault(request.method, path, bot)
        if fault is None or fault.applied:
            answer = await self._answer(request, handler, path, bot)
        if fault is not None:
            self._changed()
            if fault.hold is not None:
                await fault.hold.wait()
            answer = json_answer(fault.body, fault.status, fault.headers)
        if self.is_foreign and isinstance(answer, web.Response) and answer.content_type == "application/json":
            answer.charset = "utf-8"
        self.log.append(Request(request.method, path, bot.user.name if bot else None, body, answer.status))
        self._changed()
        if fault is not None and fault.drop and request.transport is not None:
            request.transport.abort()
        return answer

    def _take_fault(self, method: str, path: str, bot: Bot | None) -> Fault | None:
        for fault in self.faults:
            if (
                fault.times > 0
                and fault.method == method
                and re.fullmatch(fault.path, path)
                and fault.bot in (None, bot)
            ):
                fault.times -= 1
                fault.met += 1
                return fault
        return None

    async def _answer(
        self, request: web.Request, handler: Handler, path: str, bot: Bot | None
    ) -> web.StreamResponse:
        if bot is None and not path.startswith(("/interactions/", "/webhooks/", "/gateway")):
            return json_answer({"message": "401: Unauthorized", "code": 0}, 401)
        limits: dict[str, str] = {}
        for bucket in self.buckets:
            if bucket.method == request.method and re.fullmatch(bucket.path, path):
                remaining, reset_s = bucket.take(f"{bot and bot.id} {request.match_info.get('channel')}")
                limits = {
                    "X-RateLimit-Bucket": f"{abs(hash(bucket.path)):x}",
                    "X-RateLimit-Limit": str(bucket.limit),
                    "X-RateLimit-Remaining": str(max(remaining, 0)),
                    "X-RateLimit-Reset-After": f"{reset_s:.3f}",
                    "X-RateLimit-Reset": f"{time.time() + reset_s:.3f}",
                }
                if remaining < 0:
                    return too_many(reset_s, limits)
        try:
            answer = await handler(request)
        except ApiError as error:
            answer = json_answer(error.body, error.status)
        except web.HTTPException as error:
            print(f"the double has no route {request.method} {path}")
            answer = json_answer({"code": 0, "message": f"{error.status}: {error.reason}"}, error.status)
        except Exception:  # an error of the double would look like a hang to discord.py, which retries
            traceback.print_exc()
            raise
        answer.headers.update(limits)
        return answer

    # ------------------------------------------------------------------ looking things up

    def _bot(self, request: web.Request) -> Bot:
        bot = request[BOT]
        assert bot is not None
        return bot

    def _channel_of(self, request: web.Request, permission: int = VIEW_CHANNEL) -> Channel:
        channel = self._world.channels.get(int(request.match_info["channel"]))
        if channel is None:
            raise ApiError(404, 10003, "Unknown Channel")
        allowed = self._world.permissions(self._bot(request).user, channel)
        if not allowed & VIEW_CHANNEL:
            raise ApiError(403, 50001, "Missing Access")
        if not allowed & permission:
            raise ApiError(403, 50013, "Missing Permissions")
        return channel

    def _message_of(self, request: web.Request, permission: int = VIEW_CHANNEL) -> Message:
        channel = self._channel_of(request, permission)
        message = channel.messages.get(int(request.match_info["message"]))
        if message is None:
            raise ApiError(404, 10008, "Unknown Message")
        return message

    def _check_guild(self, request: web.Request) -> None:
        if request.match_info["guild"] != str(self._world.guild_id):
            raise ApiError(404, 10004, "Unknown Guild")

    def _interaction_of(self, request: web.Request) -> Interaction:
        for interaction in self._world.interactions.values():
            if interaction.token == request.match_info["token"]:
                return interaction
        raise ApiError(404, 10062, "Unknown interaction")

    # ------------------------------------------------------------------ bots, guild, channels

    async def _me(self, request: web.Request) -> web.Response:
        return json_answer(objects.me_json(self._bot(request)))

    async def _my_guilds(self, request: web.Request) -> web.Response:
        permissions = str(self._bot(request).user.permissions)
        guild = {"id": str(self._world.guild_id), "name": "The House", "icon": None, "banner": None}
        return json_answer([{**guild, "owner": False, "permissions": permissions, "features": []}])

    async def _application(self, request: web.Request) -> web.Response:
        return json_answer(objects.application_json(self._world, self._bot(request)))

    async def _gateway(self, request: web.Request) -> web.Response:
        body: Json = {"url": self._gateway_url()}
        if request.path.endswith("/bot"):
            limit = {"total": 1000, "remaining": 999, "reset_after": 0, "max_concurrency": 1}
            body |= {"shards": 1, "session_start_limit": limit}
        return json_answer(body)

    async def _guild(self, request: web.Request) -> web.Response:
        self._check_guild(request)
        return json_answer(objects.guild_json(self._world))

    async def _roles(self, request: web.Request) -> web.Response:
        self._check_guild(request)
        return json_answer([objects.role_json(self._world)])

    async def _channels(self, request: web.Request) -> web.Response:
        self._check_guild(request)
        return json_answer([objects.channel_json(self._world, c) for c in self._world.channels.values()])

    async def _member(self, request: web.Request) -> web.Response:
        self._check_guild(request)
        user = self._world.users.get(int(request.match_info["user"]))
        if user is None:
            raise ApiError(404, 10007, "Unknown Member")
        return json_answer(objects.member_json(self._world, user))

    async def _channel(self, request: web.Request) -> web.Response:
        return json_answer(objects.channel_json(self._world, self._channel_of(request)))

    # ------------------------------------------------------------------ messages

    async def _history(self, request: web.Request) -> web.Response:
        channel = self._channel_of(request)
        viewer = self._bot(request).user
        if not self._world.permissions(viewer, channel) & READ_MESSAGE_HISTORY:
            return json_answer([])
        limit = int(request.query.get("limit", 50))
        if not 1 <= limit <= 100:
            raise ApiError(400, 50035, "Invalid Form Body")
        cursors = [
            int(request.query[k]) if k in request.query else None for k in ("before", "after", "around")
        ]
        page = self._world.history(channel, limit, *cursors)
        return json_answer([objects.message_json(self._world, message, viewer) for message in page])

    async def _post(self, request: web.Request) -> web.Response:
        channel = self._channel_of(request, SEND_MESSAGES)
        bot, body = self._bot(request), await body_of(request)
        content = self._content(body)
        reference = body.get("message_reference") or {}
        if self.is_foreign and any(
            isinstance(reference.get(key), int) for key in ("message_id", "channel_id")
        ):
            raise ApiError(400, 400, "Error: You can only reference messages from this channel")
        reply_to_id = int(reference["message_id"]) if reference else None
        if reply_to_id and reply_to_id not in channel.messages:
            if reference.get("fail_if_not_exists", True):
                raise ApiError(400, 50035, "Invalid Form Body")
            reply_to_id = None
        message = self._world.post(
            bot.user,
            channel,
            content,
            reply_to_id=reply_to_id,
            nonce=body.get("nonce"),
            enforce_nonce=body.get("enforce_nonce", False),
            may_mention=_mention_policy(body.get("allowed_mentions"), channel, reply_to_id),
            flags=body.get("flags", 0),
            components=body.get("components"),
            files=body.get("files"),
        )
        answer = objects.message_json(self._world, message, bot.user)
        return json_answer(answer | ({"nonce": message.nonce} if message.nonce else {}))

    def _content(self, body: Json) -> str:
        content = body.get("content") or ""
        if not content and not body.get("components") and not body.get("files"):
            raise ApiError(400, 50006, "Cannot send an empty message")
        if len(content) > 2000:
            raise ApiError(400, 50035, "Invalid Form Body")
        return str(content)

    async def _thread(self, request: web.Request) -> web.Response:
        parent, starter = self._channel_of(request), None
        if "message" in request.match_info:
            starter = self._message_of(request)
            if starter.id in self._world.channels:
                raise ApiError(400, 160004, "A thread has already been created for this message")
        name = (await body_of(request))["name"]
        thread = self._world.add_thread(parent, name, self._bot(request).user, starter)
        return json_answer(objects.thread_json(self._world, thread), 201)

    async def _join(self, request: web.Request) -> web.Response:
        self._channel_of(request)
        return empty()

    async def _message(self, request: web.Request) -> web.Response:
        message = self._message_of(request, READ_MESSAGE_HISTORY)
        return json_answer(objects.message_json(self._world, message, self._bot(request).user))

    async def _edit(self, request: web.Request) -> web.Response:
        message, bot = self._message_of(request), self._bot(request)
        if message.author is not bot.user:
            raise ApiError(403, 50005, "Cannot edit a message authored by another user")
        self._change(message, await body_of(request))
        return json_answer(objects.message_json(self._world, message, bot.user))

    def _change(self, message: Message, body: Json) -> None:
        content = self._content(body) if body.get("content") else message.content
        self._world.edit(message, content, body.get("components"))

    async def _delete(self, request: web.Request) -> web.Response:
        message, bot = self._message_of(request), self._bot(request)
        may = self._world.permissions(bot.user, message.channel) & MANAGE_MESSAGES
        if message.author is not bot.user and not may:
            raise ApiError(403, 50013, "Missing Permissions")
        self._world.delete([message])
        return empty()

    async def _bulk_delete(self, request: web.Request) -> web.Response:
        channel = self._channel_of(request, MANAGE_MESSAGES)
        ids = [int(number) for number in (await body_of(request))["messages"]]
        self._world.delete(channel.messages[number] for number in ids if number in channel.messages)
        return empty()

    async def file(self, request: web.Request) -> web.Response:
        """An attached file. Whoever knows the address may have it."""
        for channel in self._world.channels.values():
            for message in channel.messages.values():
                for file in message.files:
                    if str(file.id) == request.match_info["file"]:
                        return web.Response(body=file.body)
        raise web.HTTPNotFound

    async def _typing(self, request: web.Request) -> web.Response:
        self._world.type(self._bot(request).user, self._channel_of(request, SEND_MESSAGES))
        return empty()

    async def _reactions(self, request: web.Request) -> web.Response:
        users = self._message_of(request).reactions.get(unquote(request.match_info["emoji"]), [])
        return json_answer([objects.user_json(user) for user in users])

    async def _react(self, request: web.Request) -> web.Response:
        message = self._message_of(request, ADD_REACTIONS)
        emoji = unquote(request.match_info["emoji"])
        self._world.react(self._bot(request).user, message, emoji, remove=request.method == "DELETE")
        return empty()

    # ------------------------------------------------------------------ slash commands

    async def _commands(self, request: web.Request) -> web.Response:
        bot = self._bot(request)
        if request.match_info["application"] != str(bot.id):
            raise ApiError(403, 20012, "You are not authorized to perform this action on this application")
        if request.method == "PUT":
            self._world.set_commands(bot, await body_of(request))
        return json_answer(bot.commands)

    async def _callback(self, request: web.Request) -> web.Response:
        interaction = self._interaction_of(request)
        if interaction.callback is not None:
            raise ApiError(400, 40060, "Interaction has already been acknowledged.")
        interaction.callback = body = await body_of(request)
        kind = body["type"]
        message: Json | None = None
        if kind == 4:
            interaction.original = self._say(interaction, body["data"])
            message = objects.message_json(self._world, interaction.original, interaction.bot.user)
        if kind == 7 and interaction.message is not None:
            self._change(interaction.message, body["data"])
            message = objects.message_json(self._world, interaction.message, interaction.bot.user)
        if request.query.get("with_response") in ("1", "true"):
            return json_answer(objects.callback_json(interaction, kind, message))
        return empty()

    async def _channel_webhooks(self, request: web.Request) -> web.Response:
        channel = self._channel_of(request, MANAGE_WEBHOOKS)
        if request.method == "GET":
            return json_answer([webhook_json(self._world, h) for h in self.webhooks.of_channel(channel)])
        name = (await body_of(request))["name"]
        return json_answer(webhook_json(self._world, self.webhooks.add(channel, self._bot(request), name)))

    async def _webhook_or_follow_up(self, request: web.Request) -> web.Response:
        number, token = request.match_info["application"], request.match_info["token"]
        if not token.startswith("webhook-secret-"):
            return await self._follow_up(request)
        hook = self.webhooks.find(number, token)
        if hook is None:
            raise ApiError(404, 10015, "Unknown Webhook")
        body = await body_of(request)
        message = self.webhooks.post(hook, body, self._content(body))
        return json_answer(objects.message_json(self._world, message, hook.owner.user))

    async def _change_by_webhook(self, request: web.Request) -> web.Response:
        hook = self.webhooks.find(request.match_info["application"], request.match_info["token"])
        message = hook and hook.channel.messages.get(int(request.match_info["message"]))
        if hook is None or message is None or message.author.id != hook.id:
            raise ApiError(404, 10008, "Unknown Message")
        if request.method == "DELETE":
            self._world.delete([message])
            return empty()
        self._change(message, await body_of(request))
        return json_answer(objects.message_json(self._world, message, hook.owner.user))

    async def _follow_up(self, request: web.Request) -> web.Response:
        interaction = self._interaction_of(request)
        if interaction.callback is None:
            raise ApiError(404, 10015, "Unknown Webhook")
        message = self._say(interaction, await body_of(request))
        if interaction.callback["type"] == 5 and interaction.original is None:
            interaction.original = message
        else:
            interaction.followups.append(message)
        return json_answer(objects.message_json(self._world, message, interaction.bot.user))

    async def _original(self, request: web.Request) -> web.Response:
        interaction = self._interaction_of(request)
        deferred = interaction.callback is not None and interaction.callback["type"] == 5
        if request.method == "PATCH" and interaction.original is None and deferred:
            interaction.original = self._say(interaction, await body_of(request))
        message = interaction.original or interaction.message
        if message is None:
            raise ApiError(404, 10008, "Unknown Message")
        if request.method == "PATCH":
            self._change(message, await body_of(request))
        if request.method == "DELETE":
            interaction.original = None
            if message.id in message.channel.messages:
                self._world.delete([message])
            return empty()
        return json_answer(objects.message_json(self._world, message, interaction.bot.user))

    def _say(self, interaction: Interaction, body: Json) -> Message:
        deferred = ((interaction.callback or {}).get("data") or {}).get("flags", 0)
        flags = body.get("flags", 0) | (deferred if interaction.original is None else 0)
        return self._world.post(
            interaction.bot.user,
            interaction.channel,
            self._content(body),
            flags=flags,
            interaction=interaction,
            hidden=bool(flags & EPHEMERAL),
            may_mention=_mention_policy(body.get("allowed_mentions"), interaction.channel, None),
            components=body.get("components"),
            files=body.get("files"),
        )


async def body_of(request: web.Request) -> Any:
    """The JSON of a request; of one with files the part that describes them, with the names as `files`."""
    if request.content_type == "multipart/form-data":
        form = await request.post()
        body = json.loads(str(form["payload_json"]))
        return {**body, "content": body.get("content") or "", "files": _files(form)}
    return await request.json() if request.content_type == "application/json" else None


def _files(form: Any) -> dict[str, bytes]:
    files = [value for key, value in form.items() if key.startswith("files[")]
    return {file.filename: _read(file.file) for file in files}


def _read(file: Any) -> bytes:
    file.seek(0)
    body: bytes = file.read()
    return body


def too_many(
    retry_after_s: float, headers: dict[str, str] | None = None, *, everywhere: bool = False
) -> web.Response:
    """A 429 that discord.py will wait out and retry."""
    body = {"message": "You are being rate limited.", "retry_after": retry_after_s, "global": everywhere}
    return json_answer(body, 429, {"Via": "1.1 double", **(headers or {})})


def _mention_policy(
    allowed: Json | None, channel: Channel, reply_to_id: int | None
) -> Callable[[User], bool]:
    """Whom a message may mention, from its `allowed_mentions`."""
    if allowed is None:
        return lambda _: True
    named = {int(number) for number in allowed.get("users", [])}
    everyone = "users" in allowed.get("parse", [])
    replied = channel.messages.get(reply_to_id or 0)

    def may(user: User) -> bool:
        if replied is not None and user is replied.author:
            return bool(allowed.get("replied_user", False)) or everyone
        return everyone or user.id in named

    return may
