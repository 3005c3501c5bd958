"""What is heard on Discord, as plain values: between discord.py's objects and the rooms. Pure.

User ids go no further than this: in texts they become names of selves, or nobody in particular.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import discord

from bots.attachments import File, text_files

TAKE_BACK = "🙈"
"""As a reaction of its author: the message is taken back."""
KEEP_OUT = (".", TAKE_BACK)
"""A message that begins with one of these is not kept."""
SOMEONE = "someone"


@dataclass(frozen=True)
class Heard:
    """A person's message."""

    platform_id: int
    user_id: int
    text: str
    """With `@Name` for the selves that are mentioned, and no ids."""
    created_at: datetime
    edited_at: datetime | None = None
    mentions: tuple[str, ...] = ()
    """Names of the selves that are mentioned."""
    reply_to: int | None = None
    files: tuple[File, ...] = ()
    """Text files that are attached; their words belong to the message."""

    @property
    def kept_out(self) -> bool:
        """Whether its author wants it neither kept nor answered."""
        return is_kept_out(self.text)


@dataclass(frozen=True)
class Edited:
    """A person changed a message into `text`."""

    platform_id: int
    text: str
    edited_at: datetime
    files: tuple[File, ...] = ()


@dataclass(frozen=True)
class Gone:
    """A message was deleted, or taken back by its author."""

    platform_id: int


@dataclass(frozen=True)
class ThreadBegan:
    """Somebody began a thread at a message."""

    platform_id: int
    thread_id: int


@dataclass(frozen=True)
class CatchUp:
    """Events may have been missed: compare with the channel's history."""


Event = Heard | Edited | Gone | ThreadBegan | CatchUp


def is_kept_out(text: str) -> bool:
    """Whether a text begins with the sign that keeps it out."""
    return text.startswith(KEEP_OUT)


def is_from_person(message: discord.Message) -> bool:
    """Whether a person wrote it, in words or text files: no bot, no webhook, no notice of Discord's own."""
    return (
        not message.author.bot
        and message.webhook_id is None
        and message.type in (discord.MessageType.default, discord.MessageType.reply)
        and bool(message.content.strip() or text_files(message.attachments))
    )


def heard(message: discord.Message, selves: Mapping[int, str]) -> Heard:
    """Turn a person's message into a value; `selves` are the names of our bots by user id."""
    mentions = [selves[user.id] for user in message.mentions if user.id in selves]
    reference = message.reference
    return Heard(
        platform_id=message.id,
        user_id=message.author.id,
        text=plain_text(message.content, selves),
        created_at=message.created_at,
        edited_at=message.edited_at,
        mentions=tuple(mentions),
        reply_to=reference.message_id if reference is not None else None,
        files=text_files(message.attachments),
    )


def edited(message: discord.Message, selves: Mapping[int, str]) -> Edited | None:
    """Turn a changed message into a value; None when it was not its author who changed it."""
    # without an edited_at it is Discord that changed something: a link's preview came, a thread began
    if message.edited_at is None or message.author.bot:
        return None
    text = plain_text(message.content, selves)
    return Edited(message.id, text, message.edited_at, text_files(message.attachments))


def plain_text(content: str, selves: Mapping[int, str]) -> str:
    """Return a message's text without Discord's ids: mentions as names, custom emoji as `:name:`."""

    def user(match: re.Match[str]) -> str:
        return f"@{selves.get(int(match[1]), SOMEONE)}"

    text = re.sub(r"<@!?(\d+)>", user, content)
    text = re.sub(r"<@&\d+>", f"@{SOMEONE}", text)
    text = re.sub(r"<#\d+>", "#channel", text)
    text = re.sub(r"<a?(:\w+:)\d+>", r"\1", text)
    return re.sub(r"<(/[\w -]+):\d+>", r"\1", text).strip()
