"""Pages of a book, as far as memory is concerned: what may be on them, and a record of what is.

A page is recorded like any other export, so that forgetting somebody whose words came to be on it calls it
back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from memory.firewall import verdict
from memory.hearsay import Hearsay
from memory.models import ExportItemRow, ExportRow, WritingRow
from memory.types import Message
from selves.errors import StoreError

if TYPE_CHECKING:
    from memory.store import Store

PAGE = "page"
"""The format of an export that is a page."""


async def without_unpublishable(store: Store, messages: Sequence[Message]) -> list[Message]:
    """Return a scene's lines without those of selves and the operator that may not be published.

    People's lines stay, so that whoever makes a page sees that people were there.
    """
    async with store.reading() as session:
        facts = await Hearsay(session).of_messages([message.id for message in messages])
    return [m for m in messages if m.human or verdict("publish", facts[m.id]).allowed]


async def withheld(store: Store, ages: Collection[tuple[str, str]]) -> frozenset[tuple[str, str, int]]:
    """Return address, kind and number of what ages wrote and what may not be shown to everybody.

    `ages` are addresses and weights.
    """
    theirs = tuple_(WritingRow.address, WritingRow.weights_sha256).in_(sorted(ages))
    async with store.reading() as session:
        rows = {row.generation_id: row for row in await session.scalars(select(WritingRow).where(theirs))}
        facts = await Hearsay(session).of_generations(rows)
    refused = (rows[sample] for sample, fact in facts.items() if not verdict("publish", fact).allowed)
    return frozenset((row.address, row.kind, row.number) for row in refused)


async def record_page(
    store: Store,
    file: Path,
    data: bytes,
    *,
    of: str,
    message_ids: Collection[int],
    ages: Collection[tuple[str, str]],
) -> int:
    """Record a page before it is written, and return its number among the exports.

    `of` names what it is about, `message_ids` are the lines on it, `ages` the address and weights of those
    whose writings are. The same page again, byte for byte, is the same export. Raises StoreError if one of
    the lines may not be published any more.
    """
    file = file.absolute()
    async with store.writing() as session:
        facts = await Hearsay(session).of_messages(message_ids)
        verdicts = [verdict("publish", fact) for fact in facts.values()]
        if refused := next((one.reason for one in verdicts if not one.allowed), None):
            raise StoreError(
                f"a line may not be shown any more that was there when the page was begun ({refused})",
                "run the same command again",
            )
        writings = await session.scalars(
            select(WritingRow.generation_id).where(
                tuple_(WritingRow.address, WritingRow.weights_sha256).in_(sorted(ages))
            )
        )
        return await keep_pages(
            session,
            {file.name: sha256(data).hexdigest()},
            file.parent,
            of=of,
            samples=writings,
            lines=message_ids,
            now=store.clock(),
        )


async def keep_pages(
    session: AsyncSession,
    files: Mapping[str, str],
    folder: Path,
    *,
    of: str,
    samples: Iterable[int],
    lines: Iterable[int],
    now: datetime,
) -> int:
    """Record files (name -> sha256) of a folder with all that is on them; return their number among exports.

    The same files again, byte for byte, are the same export.
    """
    known = await session.scalars(
        select(ExportRow).where(ExportRow.format == PAGE, ExportRow.invalid_at.is_(None))
    )
    for row in known:
        if row.files == dict(files) and row.request["folder"] == str(folder):
            return row.id
    items = [{"message_id": message_id} for message_id in sorted(set(lines))]
    items += [{"generation_id": generation_id} for generation_id in sorted(set(samples))]
    summary = {"rows": {"": len(items)}, "origins": {}, "basis": {}, "sources": {}, "left_out": {}}
    export = ExportRow(
        format=PAGE,
        purpose="publish",
        request={
            "wanted": {"format": PAGE, "purpose": "publish", "of": of},
            "summary": summary,
            "folder": str(folder),
        },
        version=metadata.version("selves"),
        rows=len(items),
        files=dict(files),
        created_at=now,
    )
    session.add(export)
    await session.flush()
    session.add_all(
        ExportItemRow(export_id=export.id, position=position, split="", **item)
        for position, item in enumerate(items)
    )
    return export.id
