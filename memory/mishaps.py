"""What went wrong with what a lineage said, counted: for a report that does not hide it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from memory.models import GenerationRow, MessageRow, ScoreRow

if TYPE_CHECKING:
    from memory.store import Store


@dataclass(frozen=True, slots=True)
class Mishaps:
    """Counts of one lineage's samples and lines."""

    generations: int = 0
    failed: int = 0
    """Samples that an error ended."""
    silent: int = 0
    """Samples without a word."""
    edited: int = 0
    """Lines that a person edited."""
    deleted: int = 0
    """Lines that were deleted where they stood."""
    compared: int = 0
    """Samples that were compared with training texts (`selves memory score --against`)."""
    copying: int = 0
    """Of those, how many hold some of them."""
    most_copied: float = 0.0
    """The largest share of one sample that stands in them."""


async def mishaps_of(store: Store, lineage: str) -> Mishaps:
    """Count what went wrong with what a lineage said."""
    of = GenerationRow.address.startswith(f"{lineage}@", autoescape=True)
    said = MessageRow.address.startswith(f"{lineage}@", autoescape=True)
    copied = (
        select(ScoreRow.value)
        .join(GenerationRow, GenerationRow.id == ScoreRow.generation_id)
        .where(of, ScoreRow.name == "copied")
        .subquery()
    )

    async with store.reading() as session:

        async def count(*conditions: object) -> int:
            query = select(func.count()).select_from(GenerationRow).where(of, *conditions)  # type: ignore[arg-type]
            return await session.scalar(query) or 0

        async def lines(*conditions: object) -> int:
            query = select(func.count()).select_from(MessageRow).where(said, *conditions)  # type: ignore[arg-type]
            return await session.scalar(query) or 0

        compared = select(func.count(), func.max(copied.c.value)).select_from(copied)
        number, most = (await session.execute(compared)).one()
        some = select(func.count()).select_from(copied).where(copied.c.value > 0)
        return Mishaps(
            generations=await count(),
            failed=await count(GenerationRow.error.is_not(None)),
            silent=await count(GenerationRow.error.is_(None), func.trim(GenerationRow.text) == ""),
            edited=await lines(MessageRow.edited_at.is_not(None)),
            deleted=await lines(MessageRow.status == "deleted"),
            compared=number,
            copying=await session.scalar(some) or 0,
            most_copied=float(most or 0.0),
        )
