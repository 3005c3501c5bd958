"""Exports that hold words which are gone: they are called back, and never made again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from memory.formats import OF_SCENES
from memory.hearsay import retold_in
from memory.models import ExportItemRow, ExportRow, HeardInRow, MessageRow
from memory.people import in_parts
from selves.files import sha256_file

if TYPE_CHECKING:
    from memory.store import Store

# files of these hold lines only; others, books among them, may show what was read before a sample was drawn
HOLDS_PROMPTS = ExportRow.format.not_in(OF_SCENES)


@dataclass(frozen=True, slots=True)
class SpoiltExport:
    """A file, or several, with words in it that are gone from here."""

    id: int
    format: str
    purpose: str
    files: tuple[str, ...]
    """Those that still exist, for the operator to delete."""


async def call_back(session: AsyncSession, message_ids: Collection[int], now: datetime, reason: str) -> None:
    """Mark the exports as invalid that hold these lines."""
    if await session.scalar(select(ExportRow.id).limit(1)) is not None:
        await invalidate(session, await exports_holding(session, message_ids), now, reason)


async def call_back_consent(session: AsyncSession, person_id: int, purpose: str, now: datetime) -> None:
    """Mark the exports for a purpose as invalid that rest on the word of a person who takes it back."""
    lines = list(await session.scalars(select(MessageRow.id).where(MessageRow.person_id == person_id)))
    prompts: set[int] = set()
    for part in in_parts(lines):
        heard = select(HeardInRow.generation_id).where(HeardInRow.message_id.in_(part))
        prompts.update(await session.scalars(heard))
    held = await exports_holding(session, lines) | await exports_retelling(session, prompts)
    meant = await session.scalars(select(ExportRow.id).where(ExportRow.purpose == purpose))
    reason = f"somebody whose words are in it took back their consent to {purpose}"
    await invalidate(session, held & set(meant), now, reason)


async def exports_holding(session: AsyncSession, message_ids: Collection[int]) -> set[int]:
    """Return the exports that show these lines, the samples they were made of, or prompts that held them."""
    exports = await exports_showing(session, message_ids)
    for part in in_parts(message_ids):
        heard = select(HeardInRow.generation_id).where(HeardInRow.message_id.in_(part))
        samples = select(MessageRow.generation_id).where(
            MessageRow.id.in_(part), MessageRow.generation_id.is_not(None)
        )
        for column in (ExportItemRow.generation_id, ExportItemRow.other_id):
            exports |= await exports_made_of(session, column.in_(samples))
            exports |= await exports_made_of(session, column.in_(heard), HOLDS_PROMPTS)
    return exports


async def exports_showing(session: AsyncSession, message_ids: Collection[int]) -> set[int]:
    """Return the exports that show these lines; one in which a line only keeps its place does not."""
    exports: set[int] = set()
    for part in in_parts(message_ids):
        items = await session.execute(
            select(ExportItemRow.export_id, ExportItemRow.detail).where(ExportItemRow.message_id.in_(part))
        )
        exports.update(export_id for export_id, detail in items if not (detail or {}).get("hidden"))
    return exports


async def exports_retelling(session: AsyncSession, prompts: Collection[int]) -> set[int]:
    """Return the exports, for everybody or to train on, with what was said after such a prompt was read.

    `prompts` are samples: it is what was said by whoever read theirs, or heard of it by way of others.
    """
    if not prompts:
        return set()
    shown_in: dict[int, set[int]] = defaultdict(set)
    said = func.coalesce(ExportItemRow.generation_id, MessageRow.generation_id)
    samples: tuple[ColumnElement[Any], ...] = (said, ExportItemRow.other_id.expression)
    for sample in samples:
        items = await session.execute(
            select(ExportItemRow.export_id, sample)
            .join(ExportRow, ExportRow.id == ExportItemRow.export_id)
            .outerjoin(MessageRow, MessageRow.id == ExportItemRow.message_id)
            .where(ExportRow.purpose.in_(("publish", "train")), sample >= min(prompts))
        )
        for export_id, number in items:
            shown_in[number].add(export_id)
    found = await retold_in(session, shown_in, prompts)
    return set().union(*(shown_in[number] for number in found))


async def exports_made_of(session: AsyncSession, *conditions: ColumnElement[bool]) -> set[int]:
    """Return the exports that have such an item."""
    query = select(ExportRow.id).join(ExportItemRow, ExportItemRow.export_id == ExportRow.id)
    return set(await session.scalars(query.where(*conditions).distinct()))


async def invalidate(session: AsyncSession, exports: Collection[int], now: datetime, reason: str) -> None:
    """Mark exports as invalid; the first reason stays."""
    for part in in_parts(exports):
        await session.execute(
            update(ExportRow)
            .where(ExportRow.id.in_(part), ExportRow.invalid_at.is_(None))
            .values(invalid_at=now, invalid_reason=reason)
            .execution_options(synchronize_session=False)
        )


async def spoilt_exports(session: AsyncSession, *conditions: ColumnElement[bool]) -> tuple[SpoiltExport, ...]:
    """Return such exports with those of their files that are still there."""
    found = await session.scalars(select(ExportRow).where(*conditions).order_by(ExportRow.id))
    return tuple(SpoiltExport(one.id, one.format, one.purpose, _still_there(one)) for one in found)


async def invalid_exports(store: Store) -> tuple[SpoiltExport, ...]:
    """Return the exports that were called back and of which there are still files."""
    async with store.reading() as session:
        found = await spoilt_exports(session, ExportRow.invalid_at.is_not(None))
    return tuple(export for export in found if export.files)


def _still_there(export: Any) -> tuple[str, ...]:
    folder = Path(export.request.get("folder", "."))
    return tuple(
        str(folder / name)
        for name, sha256 in export.files.items()
        # a page that was written anew since is another one
        if (folder / name).is_file() and sha256_file(folder / name) == sha256
    )
