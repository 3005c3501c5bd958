"""Letters that go to another age: those of scenes, and those that selves wrote in their diaries."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, select

from memory import rows
from memory.models import MessageRow, SceneRow
from memory.people import read_messages
from memory.store import Store
from memory.types import Message, StoredWriting
from selves.cast import SceneSpec

DIARY = "diary"
"""The place of letters that stand in a diary."""


async def take_from_diary(store: Store, writing: StoredWriting, speaker: str) -> Message:
    """Return a diary's letter as a message that can be answered; the same one every time.

    It stands in a scene of its own that ended when it was sent. Raises StoreError.
    """
    spec = SceneSpec(name="diary-letter", kind="letter", cast=(speaker,), to=writing.to or "future")
    scene = await store.begin_scene(spec, place=DIARY, key=f"writing:{writing.id}")
    async with store.writing() as session:
        locked = await store.lock_scene(session, scene.id)
        row: MessageRow | Row[Any] | None = await session.scalar(
            select(MessageRow).where(MessageRow.generation_id == writing.generation.id)
        )
        if row is None:
            row = await store.add_message(
                session,
                scene.id,
                speaker=speaker,
                address=writing.address,
                origin="self",
                text=_whole(writing),
                generation_id=writing.generation.id,
                status="posted",
                posted_at=store.clock(),
            )
            locked.status, locked.stop_reason, locked.ended_at = "ended", "sent", store.clock()
        return rows.to_message(row, {})


async def letters_sent(store: Store) -> list[tuple[Message, str]]:
    """Return all letters to ages with whom each goes to (`future` or an address), oldest first."""
    query = (
        select(MessageRow, SceneRow.spec)
        .join(SceneRow, MessageRow.scene_id == SceneRow.id)
        .where(SceneRow.kind == "letter", MessageRow.origin == "self", MessageRow.status == "posted")
        .order_by(MessageRow.id)
    )
    async with store.reading() as session:
        found = [(row, str(spec.get("to") or "")) for row, spec in await session.execute(query)]
        sent = [(row, to) for row, to in found if to]
        messages = await read_messages(session, [row for row, _ in sent])
        return list(zip(messages, [to for _, to in sent], strict=True))


def _whole(writing: StoredWriting) -> str:
    """A letter with its beginning, which stood on the page before the self wrote."""
    prompt = writing.generation.prompt
    begun = prompt.text.rpartition("> ")[2] if prompt and prompt.form == "transcript" else ""
    return (begun + writing.generation.text).strip()
