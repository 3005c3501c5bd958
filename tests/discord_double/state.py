"""What the double knows: people, bots, one guild, its channels, messages and commands.

All of it is plain memory and synchronous: a change happens at once and is announced through
`World.announce`, which the gateway turns into events for every session that may see them. Nothing here
speaks HTTP; `objects.py` says how each record looks on the wire.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]

DISCORD_EPOCH_MS = 1_420_070_400_000
EPHEMERAL = 1 << 6

ADD_REACTIONS = 1 << 6
VIEW_CHANNEL = 1 << 10
SEND_MESSAGES = 1 << 11
MANAGE_MESSAGES = 1 << 13
READ_MESSAGE_HISTORY = 1 << 16
MANAGE_WEBHOOKS = 1 << 29
MANAGE_GUILD = 1 << 5
USE_APPLICATION_COMMANDS = 1 << 31
CREATE_PUBLIC_THREADS = 1 << 35
SEND_MESSAGES_IN_THREADS = 1 << 38
EVERYONE = (
    ADD_REACTIONS
    | VIEW_CHANNEL
    | SEND_MESSAGES
    | READ_MESSAGE_HISTORY
    | USE_APPLICATION_COMMANDS
    | 1 << 14
    | CREATE_PUBLIC_THREADS
    | SEND_MESSAGES_IN_THREADS
)
MESSAGE_CONTENT_FLAG = 1 << 18
"""Application flag: the Message Content intent is switched on in the Developer Portal (verified apps)."""
MESSAGE_CONTENT_LIMITED_FLAG = 1 << 19
"""The same for apps in fewer than 100 servers."""


@dataclass(eq=False)
class User:
    id: int
    name: str
    bot: bool = False
    permissions: int = EVERYONE
    webhook: bool = False
    """A name that a webhook posts under."""


@dataclass(eq=False)
class Bot:
    """An application with its bot user. Their ids are the same, as they are on Discord today."""

    user: User
    token: str
    message_content: bool
    commands: list[Json] = field(default_factory=list)
    command_writes: int = 0
    """How many times the command list was overwritten."""

    @property
    def id(self) -> int:
        return self.user.id


@dataclass(eq=False)
class Channel:
    id: int
    name: str
    denied: dict[int, int] = field(default_factory=dict)
    """User id -> permission bits that are taken away in this channel."""
    parent: Channel | None = None
    """Of a thread: the channel that it belongs to."""
    owner: User | None = None
    """Of a thread: who began it."""
    between: tuple[User, ...] = ()
    """Of a private conversation: the person and the bot."""
    nsfw: bool = False
    messages: dict[int, Message] = field(default_factory=dict)
    """By id, oldest first."""


@dataclass(eq=False)
class Message:
    id: int
    channel: Channel
    author: User
    content: str
    created_at: datetime
    edited_at: datetime | None = None
    nonce: str | None = None
    reply_to_id: int | None = None
    mentions: list[User] = field(default_factory=list)
    reactions: dict[str, list[User]] = field(default_factory=dict)
    flags: int = 0
    interaction: Interaction | None = None
    files: list[File] = field(default_factory=list)
    components: list[Json] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        """All that its components say, and the labels of its buttons, in order."""
        return [text for part in self.parts() for key in ("content", "label") if (text := part.get(key))]

    def parts(self) -> list[Json]:
        """Its components, those within others too."""
        found: list[Json] = []
        waiting = list(self.components)
        while waiting:
            part = waiting.pop(0)
            found.append(part)
            waiting[:0] = [*part.get("components", []), *([part["accessory"]] if "accessory" in part else [])]
        return found


@dataclass(eq=False)
class File:
    id: int
    name: str
    body: bytes


@dataclass(eq=False)
class Interaction:
    """A command or a button as a person used it, and all that the application answered."""

    id: int
    token: str
    type: int
    bot: Bot
    user: User
    channel: Channel
    data: Json
    message: Message | None = None
    """Of a button: the message that it is on."""
    callback: Json | None = None
    """The body of the first answer."""
    original: Message | None = None
    followups: list[Message] = field(default_factory=list)

    @property
    def answers(self) -> list[str]:
        """The text of every message that answers it, ephemeral ones too."""
        first = [self.original.content] if self.original else []
        return first + [message.content for message in self.followups]

    @property
    def choices(self) -> list[str]:
        """The values that an autocomplete offered."""
        return [choice["value"] for choice in ((self.callback or {}).get("data") or {}).get("choices", [])]


@dataclass(frozen=True)
class Event:
    """A gateway event before it is fitted to a receiver."""

    name: str
    channel: Channel | None
    data: Json
    message: Message | None = None
    only_for: Bot | None = None


class World:
    """One guild and everything in it."""

    def __init__(self, clock: Callable[[], datetime] | None = None) -> None:
        self.clock = clock or (lambda: datetime.now(UTC))
        self._last_id = 0
        self.users: dict[int, User] = {}
        self.bots: dict[int, Bot] = {}
        self.interactions: dict[int, Interaction] = {}
        self.channels: dict[int, Channel] = {}
        self.typing: list[tuple[User, Channel]] = []
        self.cdn = ""
        self.announce: Callable[[Event], None] = lambda _: None
        self.guild_id = self.new_id()
        self.owner = self.add_user("Owner")

    def new_id(self) -> int:
        """A snowflake: milliseconds since 2015 in the upper 42 bits, always larger than the last one."""
        now_ms = int(self.clock().timestamp() * 1000)
        self._last_id = max((now_ms - DISCORD_EPOCH_MS) << 22, self._last_id + 1)
        return self._last_id

    def add_user(self, name: str, *, bot: bool = False) -> User:
        user = User(self.new_id(), name, bot)
        self.users[user.id] = user
        return user

    def add_bot(self, name: str, *, message_content: bool = False) -> Bot:
        user = self.add_user(name, bot=True)
        bot = Bot(user, f"MTA{user.id}.double.{'secret' * 6}{user.id % 9973}", message_content)
        self.bots[user.id] = bot
        return bot

    def add_channel(self, name: str) -> Channel:
        channel = Channel(self.new_id(), name)
        self.channels[channel.id] = channel
        return channel

    def add_thread(self, parent: Channel, name: str, owner: User, starter: Message | None = None) -> Channel:
        """Begin a thread, at a message (whose id it has) or at none, and announce it."""
        thread = Channel(
            starter.id if starter else self.new_id(), name, parent.denied, parent=parent, owner=owner
        )
        self.channels[thread.id] = thread
        self.announce(Event("THREAD_CREATE", thread, {"thread": thread}))
        return thread

    def private(self, user: User, bot: Bot) -> Channel:
        """The private conversation of a person and a bot."""
        for channel in self.channels.values():
            if channel.between == (user, bot.user):
                return channel
        channel = Channel(self.new_id(), "", between=(user, bot.user))
        self.channels[channel.id] = channel
        return channel

    def guild_part(self, channel: Channel) -> Json:
        """`guild_id` as it stands in events of a channel; private conversations have none."""
        return {} if channel.between else {"guild_id": str(self.guild_id)}

    def bot_by_token(self, token: str) -> Bot | None:
        return next((bot for bot in self.bots.values() if bot.token == token), None)

    def permissions(self, user: User, channel: Channel) -> int:
        if channel.between and user not in channel.between:
            return 0
        return user.permissions & ~channel.denied.get(user.id, 0)

    # ------------------------------------------------------------------ messages

    def post(
        self,
        author: User,
        channel: Channel,
        content: str,
        *,
        reply_to_id: int | None = None,
        nonce: str | None = None,
        enforce_nonce: bool = False,
        may_mention: Callable[[User], bool] = lambda _: True,
        flags: int = 0,
        interaction: Interaction | None = None,
        hidden: bool = False,
        ago: timedelta = timedelta(0),
        files: Mapping[str, bytes] | None = None,
        components: list[Json] | None = None,
    ) -> Message:
        """Add a message and announce it; a nonce that this author used here gives the old message.

        With `ago` it is as if it had been posted then and its event had been long under way.
        """
        if nonce and enforce_nonce:
            for message in channel.messages.values():
                if message.author is author and message.nonce == nonce:
                    return message
        mentioned = self._mentioned(content, may_mention)
        replied = channel.messages.get(reply_to_id) if reply_to_id else None
        if replied and replied.author not in mentioned and may_mention(replied.author):
            mentioned.append(replied.author)
        message = Message(
            self.new_id() - (int(ago.total_seconds() * 1000) << 22),
            channel,
            author,
            content,
            self.clock() - ago,
            nonce=nonce,
            reply_to_id=reply_to_id,
            mentions=mentioned,
            flags=flags,
            interaction=interaction,
            files=[File(self.new_id(), name, body) for name, body in (files or {}).items()],
            components=components or [],
        )
        if not hidden:
            channel.messages[message.id] = message
            self.announce(Event("MESSAGE_CREATE", channel, {}, message))
        return message

    def edit(self, message: Message, content: str, components: list[Json] | None = None) -> None:
        message.content, message.edited_at = content, self.clock()
        if components is not None:
            message.components = components
        if message.id in message.channel.messages:
            self.announce(Event("MESSAGE_UPDATE", message.channel, {}, message))

    def delete(self, messages: Iterable[Message]) -> None:
        """Delete one message, or several at once as moderators do."""
        gone = list(messages)
        channel = gone[0].channel
        for message in gone:
            del channel.messages[message.id]
        where = {"channel_id": str(channel.id), **self.guild_part(channel)}
        if len(gone) == 1:
            self.announce(Event("MESSAGE_DELETE", channel, {"id": str(gone[0].id), **where}))
        else:
            self.announce(Event("MESSAGE_DELETE_BULK", channel, {"ids": [str(m.id) for m in gone], **where}))

    def react(self, user: User, message: Message, emoji: str, *, remove: bool = False) -> None:
        users = message.reactions.setdefault(emoji, [])
        if (user in users) != remove:
            return
        users.remove(user) if remove else users.append(user)
        if not users:
            del message.reactions[emoji]
        data = {
            "user_id": str(user.id),
            "channel_id": str(message.channel.id),
            "message_id": str(message.id),
            **self.guild_part(message.channel),
            "emoji": {"id": None, "name": emoji},
            "type": 0,
            "burst": False,
            "message_author_id": str(message.author.id),
        }
        name = "MESSAGE_REACTION_REMOVE" if remove else "MESSAGE_REACTION_ADD"
        self.announce(Event(name, message.channel, data, None))

    def type(self, user: User, channel: Channel) -> None:
        self.typing.append((user, channel))
        data = {
            "user_id": str(user.id),
            "channel_id": str(channel.id),
            **self.guild_part(channel),
            "timestamp": int(self.clock().timestamp()),
        }
        self.announce(Event("TYPING_START", channel, data))

    def history(
        self, channel: Channel, limit: int, before: int | None, after: int | None, around: int | None
    ) -> list[Message]:
        """A page, newest first. `after` gives the oldest that follow the cursor, as Discord does."""
        messages = sorted(channel.messages.values(), key=lambda m: m.id)
        if after is not None:
            return [m for m in messages if m.id > after][:limit][::-1]
        if around is not None:
            near = sorted(messages, key=lambda m: abs(m.id - around))[:limit]
            return sorted(near, key=lambda m: m.id, reverse=True)
        if before is not None:
            messages = [m for m in messages if m.id < before]
        return messages[-limit:][::-1]

    def _mentioned(self, content: str, may_mention: Callable[[User], bool]) -> list[User]:
        ids = dict.fromkeys(int(number) for number in re.findall(r"<@!?(\d+)>", content))
        return [self.users[i] for i in ids if i in self.users and may_mention(self.users[i])]

    # ------------------------------------------------------------------ slash commands

    def set_commands(self, bot: Bot, commands: list[Json]) -> list[Json]:
        """Overwrite the command list; a command that keeps its name keeps its id."""
        bot.command_writes += 1
        ids = {command["name"]: command["id"] for command in bot.commands}
        bot.commands = [
            {
                "default_member_permissions": None,
                "description": "",
                "options": [],
                **command,
                "type": command.get("type", 1),
                "id": ids.get(command["name"], str(self.new_id())),
                "application_id": str(bot.id),
                "version": str(self.new_id()),
            }
            for command in commands
        ]
        return bot.commands

    def interact(
        self, bot: Bot, user: User, channel: Channel, name: str, options: Json, *, focused: str | None = None
    ) -> Interaction:
        """A person uses a slash command, or with `focused` has typed part of that option's value.

        Raises LookupError when the bot has no such command.
        """
        name, _, rest = name.partition(" ")
        command = next((c for c in bot.commands if c["name"] == name and c["type"] == 1), None)
        if command is None:
            raise LookupError(f"{bot.user.name} has no command /{name}")
        described = command["options"]
        if rest:
            described = next(option for option in described if option["name"] == rest)["options"]
        kinds = {option["name"]: option["type"] for option in described}
        given: list[Json] = [
            {"name": key, "type": kinds[key], "value": value, **({"focused": True} if key == focused else {})}
            for key, value in options.items()
        ]
        data: Json = {
            "id": command["id"],
            "name": name,
            "type": 1,
            "guild_id": str(self.guild_id),
            "options": [{"name": rest, "type": 1, "options": given}] if rest else given,
        }
        return self._send(bot, user, channel, 4 if focused else 2, data)

    def menu(self, bot: Bot, user: User, message: Message, name: str) -> Interaction:
        """A person uses a command of a message's context menu. Raises LookupError when there is none."""
        command = next((c for c in bot.commands if c["name"] == name and c["type"] == 3), None)
        if command is None:
            raise LookupError(f"{bot.user.name} has no {name!r} in its menu")
        guild = {"guild_id": str(self.guild_id)}
        data = {"id": command["id"], "name": name, "type": 3, **guild, "target_id": str(message.id)}
        return self._send(bot, user, message.channel, 2, data, message)

    def press(self, bot: Bot, user: User, message: Message, label: str) -> Interaction:
        """A person presses a button. Raises LookupError when the message has none with this label."""
        button = next((p for p in message.parts() if p.get("label") == label and not p.get("disabled")), None)
        if button is None:
            raise LookupError(f"there is no button {label!r} on {message.content!r}")
        data = {"custom_id": button["custom_id"], "component_type": 2}
        return self._send(bot, user, message.channel, 3, data, message)

    def _send(
        self, bot: Bot, user: User, channel: Channel, kind: int, data: Json, message: Message | None = None
    ) -> Interaction:
        number = self.new_id()
        token = f"interaction-token-{number:064d}"
        interaction = Interaction(number, token, kind, bot, user, channel, data, message)
        self.interactions[number] = interaction
        self.announce(Event("INTERACTION_CREATE", channel, {"interaction": interaction}, only_for=bot))
        return interaction
