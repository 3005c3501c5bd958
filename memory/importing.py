"""Talk from elsewhere comes in: Discord channels as DiscordChatExporter writes them, and logs of models.

Importing a file again, or a longer one of the same channel, adds only what is new. People become guests:
their names and ids are not kept, their words are sealed, and nothing of it is ever trained on unless they
and the platform allowed it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from memory import rows, sealing
from memory.backrooms import from_backrooms
from memory.consent import wants_stored
from memory.dce import from_dce, is_dce, mention, mentioned
from memory.models import MessageRow
from memory.people import Known, meet
from selves.cast import SceneSpec
from selves.errors import UsageError

if TYPE_CHECKING:
    from memory.store import Store

DISCORD = "imported:discord"
"""Platform of the people in exports of Discord."""
AT_ONCE = 500
_SNOWFLAKES = range(1 << 40, 1 << 63)
"""Ids of Discord; others are another program's, and only single within its file."""


class Line(NamedTuple):
    """A message of a file."""

    name: str
    """What makes it single."""
    speaker: str
    author_id: str | None
    """The platform's id of a person; None for what no person said."""
    text: str
    said_at: datetime | None
    edited_at: datetime | None = None
    reply_to: str | None = None
    """Name of the line that it answers."""


class Talk(NamedTuple):
    """A conversation in a file."""

    kind: str
    name: str
    premise: str
    place: str
    lines: tuple[Line, ...]
    skipped: int
    began_at: datetime | None

    @property
    def key(self) -> str:
        """What makes its scene single."""
        return f"{self.place}:{_digest(self.name, self.lines[0].name if self.kind == 'backrooms' else '')}"


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of a file."""

    file: str
    kind: str
    """`DiscordChatExporter` or `backrooms`."""
    scene_id: int | None
    """None if nothing was written."""
    scene: str
    new: int
    known: int
    """Messages that were here already."""
    skipped: int
    """Notices, and messages without words."""
    people: int
    """Different people who spoke."""


def read_talk(path: Path) -> Talk:
    """Read a file. Raises UsageError saying why it cannot be read."""
    try:
        text = path.read_text("utf-8-sig")
        if text.lstrip().startswith("{"):
            value = json.loads(text)
            if not is_dce(value):
                raise ValueError("it is JSON, but no export of DiscordChatExporter")
            return _of_discord(value)
        return _of_models(text, path.name)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}", "check the path") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} cannot be imported: {error}",
            "exports of DiscordChatExporter as JSON can be, and logs of models as plain text",
        ) from error


def _of_discord(value: object) -> Talk:
    channel = from_dce(value)
    if not channel.messages:
        raise ValueError("there are no messages with words in it")

    def name(message_id: str, said_at: datetime | None) -> str:
        if message_id.isdecimal() and int(message_id) in _SNOWFLAKES:
            return message_id
        return _digest(channel.guild, channel.id, channel.name, message_id, said_at)

    names = {message.id: name(message.id, message.said_at) for message in channel.messages}
    return Talk(
        kind="DiscordChatExporter",
        name="direct-talk" if channel.direct else channel.name,
        premise="" if channel.direct else channel.topic,
        place=f"{DISCORD}:{_digest(channel.guild, channel.id)[:16]}",
        lines=tuple(
            Line(
                name=names[message.id],
                speaker=message.author,
                author_id=None if message.is_bot else message.author_id,
                text=message.text,
                said_at=message.said_at,
                edited_at=message.edited_at,
                reply_to=names.get(message.reply_to or ""),
            )
            for message in channel.messages
        ),
        skipped=channel.skipped,
        began_at=channel.messages[0].said_at,
    )


def _of_models(text: str, file_name: str) -> Talk:
    log = from_backrooms(text, file_name)
    lines: list[Line] = []
    for turn in log.turns:
        # each name holds all that was said before it: a log that goes on begins with the same names
        name = _digest(lines[-1].name if lines else log.premise, *turn)
        lines.append(Line(name, turn.speaker, None, turn.text, log.began_at))
    return Talk("backrooms", log.name, log.premise, "imported:backrooms", tuple(lines), 0, log.began_at)


def _digest(*parts: object) -> str:
    named = json.dumps([str(part) for part in parts])
    return hashlib.sha256(named.encode()).hexdigest()


async def import_talk(
    store: Store,
    path: Path,
    *,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Imported:
    """Bring a file's talk in; with `dry_run` only say what would come.

    Stopped at any moment and run again, it goes on where it was. Raises UsageError if the file cannot be
    read.
    """
    talk = read_talk(path)
    people = len({line.author_id for line in talk.lines if line.author_id is not None})
    scene_id, new = None, 0
    if not dry_run:
        bots = dict.fromkeys(line.speaker for line in talk.lines if line.author_id is None)
        cast = (*bots, "somebody", "somebody else")[: max(2, len(bots))]
        spec = SceneSpec(name=_slug(talk.name), cast=cast, premise=talk.premise)
        scene_id = (await store.begin_scene(spec, place=talk.place, key=talk.key)).id
    for start in range(0, len(talk.lines), AT_ONCE):
        part = talk.lines[start : start + AT_ONCE]
        if scene_id is None:
            async with store.reading() as session:
                known = await _known(store, session, part)
            new += len({line.name for line in part} - known.keys())
        else:
            new += await _add(store, scene_id, talk, part)
        if progress is not None:
            progress(start + len(part), len(talk.lines))
    if scene_id is not None:
        await store.end_scene(scene_id, "imported")
    return Imported(
        file=str(path),
        kind=talk.kind,
        scene_id=scene_id,
        scene=_slug(talk.name),
        new=new,
        known=len(talk.lines) - new,
        skipped=talk.skipped,
        people=people,
    )


async def _add(store: Store, scene_id: int, talk: Talk, lines: Sequence[Line]) -> int:
    now = store.clock()
    async with store.writing() as session:
        known = await _known(store, session, lines)
        new = [line for line in {line.name: line for line in lines}.values() if line.name not in known]
        guests: dict[str, Known] = {}
        for line in new:
            for user_id in filter(None, (line.author_id, *mentioned(line.text))):
                if user_id not in guests:
                    guests[user_id] = await meet(session, store.house, DISCORD, user_id, now)
        stored = {guest.id: await wants_stored(session, guest.id) for guest in guests.values()}
        scene = await store.lock_scene(session, scene_id)
        # asked again: somebody else may have brought these in while this one waited for the lock
        known = await _known(store, session, lines)
        new = [line for line in new if line.name not in known]
        if scene.messages == 0 and talk.began_at is not None:
            scene.started_at = talk.began_at
        for line in new:
            text = line.text
            for user_id in mentioned(text):
                text = text.replace(mention(user_id), f"@{guests[user_id].pseudonym}")
            author = guests[line.author_id] if line.author_id is not None else None
            said_at = line.said_at or now
            row = await store.add_message(
                session,
                scene.id,
                speaker=author.pseudonym if author else line.speaker,
                person_id=author.id if author else None,
                origin="imported",
                text=sealing.seal(text, [author.key]) if author else text,
                reply_to=known.get(line.reply_to or ""),
                platform_id=_stand_in(store.house.secret, line.name),
                status="posted",
                created_at=said_at,
                posted_at=said_at,
                edited_at=line.edited_at,
                expires_at=rows.words_end("imported", said_at, stored[author.id]) if author else None,
            )
            known[line.name] = row.id
        return len(new)


async def _known(store: Store, session: AsyncSession, lines: Sequence[Line]) -> dict[str, int]:
    """Return the ids of messages that are here, by the lines' names, those that are answered too.

    What was heard on Discord itself is known by its own id there, or by what stands for it.
    """
    names = {line.name for line in lines} | {line.reply_to for line in lines if line.reply_to}
    ids = {_stand_in(store.house.secret, name): name for name in names}
    ids |= {int(name): name for name in names if name.isdecimal()}
    found = await session.execute(
        select(MessageRow.platform_id, MessageRow.id).where(MessageRow.platform_id.in_(ids))
    )
    return {ids[platform_id]: message_id for platform_id, message_id in found if platform_id is not None}


def _stand_in(secret: str, name: str) -> int:
    number = int(name) if name.isdecimal() else int(name[:16], 16)
    return rows.hidden_id(secret, number)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63] or "imported"
