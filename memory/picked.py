"""Texts as an editor sees them: a line, or a sample that became none, with how many were drawn for it.

Which texts have a pick that stands is asked here too, because searches filter by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from memory.models import GenerationRow, MessageRow, PickRow, WritingRow
from memory.people import read_messages
from selves.errors import StoreError

PickKind = Literal["star", "quote", "tag", "note", "retract"]


@dataclass(frozen=True, slots=True)
class EditedText:
    """A line or a sample as an editor sees it."""

    message_id: int | None
    generation_id: int | None
    speaker: str | None
    address: str | None
    scene_id: int | None
    text: str
    sample: str | None
    """What the engine gave; None for what no self said."""
    siblings: int
    """How many samples were drawn for its turn, itself too."""


def standing(kind: PickKind, value: str | None, of: Literal["message", "generation"]) -> Select[Any]:
    """Return the query for the messages or samples that have a pick of this kind which was not retracted."""
    column = PickRow.message_id if of == "message" else PickRow.generation_id
    query = select(column).where(PickRow.kind == kind, column.is_not(None), not_retracted())
    return query if value is None else query.where(PickRow.value == value)


def not_retracted() -> Any:
    """Return the condition that a pick stands."""
    later = aliased(PickRow)
    return PickRow.id.not_in(select(later.retracts).where(later.retracts.is_not(None)))


def in_scene(scene_id: int) -> Any:
    """Return the condition that a pick is on a text of a scene."""
    lines = select(MessageRow.id).where(MessageRow.scene_id == scene_id)
    samples = select(GenerationRow.id).where(GenerationRow.scene_id == scene_id)
    return or_(
        PickRow.message_id.in_(lines),
        and_(PickRow.message_id.is_(None), PickRow.generation_id.in_(samples)),
    )


async def read_text(session: AsyncSession, message_id: int | None, generation_id: int | None) -> EditedText:
    """Return a line, or a sample; a sample that became a line is that line. Raises StoreError."""
    if message_id is None:
        message_id = await session.scalar(
            select(MessageRow.id).where(MessageRow.generation_id == generation_id)
        )
    row = None if message_id is None else await session.get(MessageRow, message_id)
    if message_id is not None and row is None:
        raise StoreError(
            f"there is no message {message_id} in the database",
            "`selves memory search` and `selves memory transcript` show what there is",
        )
    wanted = generation_id if row is None else row.generation_id
    sample = None if wanted is None else await session.get(GenerationRow, wanted)
    if row is None:
        if sample is None:
            raise StoreError(
                f"there is no generation {generation_id} in the database",
                "`selves memory show MESSAGE` lists the samples of a turn",
            )
        return EditedText(
            None,
            sample.id,
            sample.speaker,
            sample.address,
            sample.scene_id,
            sample.text,
            sample.text,
            await _siblings(session, sample),
        )
    (message,) = await read_messages(session, [row])
    return EditedText(
        row.id,
        None,
        row.speaker,
        row.address,
        row.scene_id,
        message.text,
        sample.text if sample else None,
        await _siblings(session, sample) if sample else 0,
    )


async def _siblings(session: AsyncSession, sample: GenerationRow) -> int:
    """How many were drawn for the same turn, or of a writing: for the same purpose at that age."""
    if sample.scene_id is not None:
        query = select(func.count(GenerationRow.id)).where(
            GenerationRow.scene_id == sample.scene_id,
            GenerationRow.turn == sample.turn,
            GenerationRow.error.is_(None),
        )
    else:
        this, other = aliased(WritingRow), aliased(WritingRow)
        query = (
            select(func.count(other.id))
            .join(this, and_(this.address == other.address, this.weights_sha256 == other.weights_sha256))
            .where(
                this.generation_id == sample.id,
                this.kind == other.kind,
                this.addressee.is_not_distinct_from(other.addressee),
            )
        )
    return await session.scalar(query) or 1
