"""DiscordChatExporter's JSON (pure): scenes written as it writes channels, and what others exported read.

Viewers and analysers of such files then show scenes of selves, and the talk of an old server comes in.
See https://github.com/Tyrrrz/DiscordChatExporter.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from memory.formats import SOMEBODY, readable
from memory.types import Message, Scene

GUILD = "0"
LEFT_OUT = "[left out: its author did not allow it]"
_SPOKEN = ("Default", "Reply")
"""Kinds of message that somebody said; the others are notices of Discord."""


class Heard(NamedTuple):
    """A message of an export."""

    id: str
    author_id: str
    author: str
    is_bot: bool
    text: str
    said_at: datetime
    edited_at: datetime | None
    reply_to: str | None


class Channel(NamedTuple):
    """An export: what was said in one channel."""

    id: str
    name: str
    topic: str
    guild: str
    direct: bool
    """Whether it was a talk in private, which is called by the names of people."""
    messages: tuple[Heard, ...]
    skipped: int
    """Notices, and messages without words (pictures, stickers)."""


class Written(NamedTuple):
    """A scene to be written."""

    scene: Scene
    lines: tuple[Message, ...]
    hidden: frozenset[int]
    """Ids of messages that keep only their place."""

    @property
    def file_name(self) -> str:
        return f"{self.scene.id:06d}-{self.scene.name}.json"


def to_dce(written: Written, exported_at: datetime) -> bytes:
    """Return a scene as an export of a channel."""
    scene, lines, hidden = written
    messages = [_message(scene, line, line.id in hidden) for line in lines]
    exported = {
        "guild": {"id": GUILD, "name": "Selves", "iconUrl": None},
        "channel": {
            "id": str(scene.id),
            "type": "GuildTextChat",
            "categoryId": GUILD,
            "category": scene.kind,
            "name": scene.name,
            "topic": scene.premise or None,
        },
        "dateRange": {"after": None, "before": None},
        "exportedAt": exported_at.isoformat(),
        "messages": messages,
        "messageCount": len(messages),
    }
    return (readable(json.dumps(exported, ensure_ascii=False, indent=2)) + "\n").encode()


def _message(scene: Scene, line: Message, hidden: bool) -> dict[str, Any]:
    speaker = SOMEBODY if hidden else line.speaker
    written: dict[str, Any] = {
        # never the platform's id of a message: it leads to who wrote it
        "id": str(line.id),
        "type": "Default" if line.reply_to is None else "Reply",
        "timestamp": line.created_at.isoformat(),
        "timestampEdited": None if line.edited_at is None else line.edited_at.isoformat(),
        "callEndedTimestamp": None,
        "isPinned": False,
        "content": LEFT_OUT if hidden else line.text,
        "author": {
            "id": _author_id(speaker),
            "name": speaker,
            "discriminator": "0000",
            "nickname": speaker,
            "color": None,
            "isBot": line.address is not None,
            "roles": [],
            "avatarUrl": "",
        },
        "attachments": [],
        "embeds": [],
        "stickers": [],
        "reactions": [],
        "mentions": [],
    }
    if line.reply_to is not None:
        written["reference"] = {
            "messageId": str(line.reply_to),
            "channelId": str(scene.id),
            "guildId": GUILD,
        }
    return written


def _author_id(speaker: str) -> str:
    """Return a number that stands for a speaker, the same in every export."""
    digest = hashlib.sha256(speaker.encode("utf-8", "surrogatepass")).digest()
    return str(int.from_bytes(digest[:8], "big") >> 1)


def is_dce(value: Any) -> bool:
    """Whether a JSON value looks like an export of DiscordChatExporter."""
    return isinstance(value, dict) and {"guild", "channel", "messages"} <= value.keys()


def from_dce(value: Any) -> Channel:
    """Read an export. Raises ValueError saying what is wrong with it.

    The names of people who are mentioned are replaced by their ids (`mention`), for whoever gives out
    pseudonyms.
    """
    channel = _object(value, "channel")
    guild = _object(value, "guild")
    messages = value.get("messages")
    if not isinstance(messages, list):
        raise ValueError("`messages` is no list")
    heard = list(_heard(messages))
    return Channel(
        id=_text(channel, "id"),
        name=_text(channel, "name"),
        topic=channel.get("topic") or "",
        guild=_text(guild, "name"),
        direct=str(channel.get("type", "")).startswith("Direct"),
        messages=tuple(heard),
        skipped=len(messages) - len(heard),
    )


def _heard(messages: Sequence[Any]) -> Iterator[Heard]:
    for number, message in enumerate(messages):
        try:
            if message.get("type", "Default") not in _SPOKEN or not _text(message, "content").strip():
                continue
            author = _object(message, "author")
            reference = message.get("reference") or {}
            edited = message.get("timestampEdited")
            yield Heard(
                id=_text(message, "id"),
                author_id=_text(author, "id"),
                author=author.get("nickname") or _text(author, "name"),
                is_bot=author.get("isBot") is True,
                text=_without_names(message),
                said_at=_moment(_text(message, "timestamp")),
                edited_at=_moment(edited) if edited else None,
                reply_to=reference.get("messageId"),
            )
        except (ValueError, AttributeError, KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"message {number}: {error}") from error


def _without_names(message: Mapping[str, Any]) -> str:
    text = _text(message, "content")
    people = [m for m in message.get("mentions") or [] if m.get("isBot") is not True]
    for person in people:
        text = text.replace(f"<@{person['id']}>", mention(person["id"]))
    names = {name: m["id"] for m in people for name in (m.get("nickname"), m.get("name")) if name}
    # the longest first, so that @Anna is not found in @Annabel
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(f"@{name}", mention(names[name]))
    return text


def mention(user_id: str) -> str:
    """What stands for a person's name until there is a pseudonym."""
    return f"@{{{user_id}}}"


def mentioned(text: str) -> list[str]:
    """Return the ids of the people that a text mentions."""
    return re.findall(r"@\{([^{}]+)\}", text)


def _object(value: Any, name: str) -> Mapping[str, Any]:
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, dict):
        raise ValueError(f"there is no `{name}`")
    return found


def _text(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str):
        raise ValueError(f"`{name}` is no text")
    return found


def _moment(written: str) -> datetime:
    moment = datetime.fromisoformat(written)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
