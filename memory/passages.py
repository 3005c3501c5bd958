"""What a book is made of, read at once: samples, those drawn beside them, lines, and what may not be printed.

A book shows what selves said long after it was said, to people who were not there. So it keeps to the strict
reading of the firewall: a sample whose prompt held the words of a person who did not allow publishing is not
printed either, because selves repeat what they hear; nor is one that heard them by way of another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import and_, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from memory.firewall import Facts, Verdict, for_everybody, verdict
from memory.hearsay import Hearsay
from memory.models import (
    GenerationRow,
    MessageRow,
    PersonRow,
    SceneRow,
    ScoreRow,
    WritingRow,
)
from memory.pages import keep_pages
from memory.people import in_parts, read_generations, read_messages
from memory.rows import to_scene
from memory.types import Generation, Message, Scene
from selves.errors import StoreError

if TYPE_CHECKING:
    from memory.store import Store

Row = TypeVar("Row", SceneRow, MessageRow, GenerationRow)


@dataclass(frozen=True, slots=True)
class Written:
    """That a sample is a writing of an age."""

    kind: str
    number: int
    to: str | None


@dataclass(frozen=True, slots=True)
class Material:
    """What was found; what was asked for and is missing here does not exist."""

    samples: Mapping[int, Generation]
    """By id: those asked for, those of the lines, and all that were drawn beside them."""
    lines: Mapping[int, Message]
    scenes: Mapping[int, Scene]
    lines_of: Mapping[int, tuple[int, ...]]
    """Scene -> the ids of its lines, in order."""
    writings: Mapping[int, Written]
    """Sample -> what sort of writing it is."""
    siblings: Mapping[int, tuple[int, ...]]
    """Sample -> the others of its turn, or of the same kind at the same age from the same words."""
    copied: Mapping[int, float]
    """Sample -> how much of it stands in the texts it was compared with."""
    sample_verdicts: Mapping[int, Verdict]
    line_verdicts: Mapping[int, Verdict]
    forgotten: int
    """How many people were forgotten when this was read."""


async def read_material(
    store: Store,
    *,
    samples: Collection[int] = (),
    lines: Collection[int] = (),
    scenes: Collection[int] = (),
) -> Material:
    """Return samples, lines and whole scenes with all that is known about them. Unknown ids are left out."""
    async with store.reading() as session:
        scene_rows = await _rows(session, SceneRow, scenes)
        line_rows = {row.id: row for row in await _rows(session, MessageRow, lines)}
        lines_of: dict[int, tuple[int, ...]] = {}
        for part in in_parts(sorted(set(scenes))):
            found = await session.scalars(
                select(MessageRow).where(MessageRow.scene_id.in_(part)).order_by(MessageRow.sequence)
            )
            for row in found:
                line_rows[row.id] = row
                lines_of[row.scene_id] = (*lines_of.get(row.scene_id, ()), row.id)
        # a line's scene says when and where it was said
        more = {row.scene_id for row in line_rows.values()} - {row.id for row in scene_rows}
        scene_rows += await _rows(session, SceneRow, more)
        wanted = {*samples, *(row.generation_id for row in line_rows.values() if row.generation_id)}
        siblings = _both_ways(await _siblings(session, wanted))
        everything = wanted.union(*siblings.values())
        sample_rows = await _rows(session, GenerationRow, everything)
        writing_rows = [
            row
            for part in in_parts(sorted(everything))
            for row in await session.scalars(select(WritingRow).where(WritingRow.generation_id.in_(part)))
        ]
        copied = [
            row
            for part in in_parts(sorted(everything))
            for row in await session.scalars(
                select(ScoreRow).where(ScoreRow.generation_id.in_(part), ScoreRow.name == "copied")
            )
        ]
        hearsay = Hearsay(session)
        return Material(
            samples={g.id: g for g in await read_generations(session, sample_rows)},
            lines={m.id: m for m in await read_messages(session, list(line_rows.values()))},
            scenes={row.id: for_everybody(to_scene(row)) for row in scene_rows},
            lines_of=lines_of,
            writings={
                row.generation_id: Written(row.kind, row.number, row.addressee) for row in writing_rows
            },
            siblings=siblings,
            copied={row.generation_id: row.value for row in copied},
            sample_verdicts=_verdicts(await hearsay.of_generations(everything)),
            line_verdicts=_verdicts(await hearsay.of_messages(line_rows)),
            forgotten=await _forgotten(session),
        )


async def count_samples(store: Store, lineage: str) -> int:
    """Return how many samples of a lineage are kept, failed ones not counted."""
    async with store.reading() as session:
        query = select(func.count(GenerationRow.id)).where(
            GenerationRow.address.startswith(f"{lineage}@", autoescape=True), GenerationRow.error.is_(None)
        )
        return await session.scalar(query) or 0


async def record_book(
    store: Store,
    folder: Path,
    files: Mapping[str, str],
    *,
    of: str,
    samples: Iterable[int],
    lines: Iterable[int],
    forgotten: int,
) -> int:
    """Record the files of a book (name -> sha256) with all that is printed in it, before they are written.

    Forgetting a person whose words are in it then calls it back. The same book again, byte for byte, is the
    same export. Raises StoreError if a person was forgotten since its material was read, or if something
    of it may not be printed any more.
    """
    samples, lines = set(samples), set(lines)
    async with store.writing() as session:
        if await _forgotten(session) != forgotten:
            raise StoreError("a person was forgotten while the book was made", "run the same command again")
        hearsay = Hearsay(session)
        verdicts = (
            *_verdicts(await hearsay.of_generations(samples)).values(),
            *_verdicts(await hearsay.of_messages(lines)).values(),
        )
        if refused := next((one.reason for one in verdicts if not one.allowed), None):
            raise StoreError(
                f"something may not be printed any more that was there when the book was begun ({refused})",
                "run the same command again",
            )
        return await keep_pages(
            session, files, folder.absolute(), of=of, samples=samples, lines=lines, now=store.clock()
        )


async def _rows(session: AsyncSession, model: type[Row], ids: Iterable[int]) -> list[Row]:
    found: list[Row] = []
    for part in in_parts(sorted(set(ids))):
        found += await session.scalars(select(model).where(model.id.in_(part)).order_by(model.id))
    return found


def _verdicts(facts: Mapping[int, Facts]) -> dict[int, Verdict]:
    return {row_id: verdict("publish", one) for row_id, one in facts.items()}


async def _siblings(session: AsyncSession, ids: Collection[int]) -> dict[int, tuple[int, ...]]:
    """Of each sample, the others of its turn in a scene, or of a writing: of its kind at that age."""
    found: dict[int, list[int]] = defaultdict(list)
    this, other = aliased(GenerationRow), aliased(GenerationRow)
    mine, its = aliased(WritingRow), aliased(WritingRow)
    for part in in_parts(sorted(ids)):
        of_turns = select(this.id, other.id).where(
            this.id.in_(part),
            this.turn.is_not(None),
            other.scene_id == this.scene_id,
            other.turn == this.turn,
            other.id != this.id,
            other.error.is_(None),
        )
        of_writings = (
            select(mine.generation_id, its.generation_id)
            .join(
                its,
                and_(
                    its.address == mine.address,
                    its.weights_sha256 == mine.weights_sha256,
                    its.kind == mine.kind,
                    its.addressee.is_not_distinct_from(mine.addressee),
                    its.id != mine.id,
                ),
            )
            .join(this, this.id == mine.generation_id)
            .join(other, other.id == its.generation_id)
            .where(other.prompt_sha256 == this.prompt_sha256, other.error.is_(None))
        )
        for query in (of_turns, of_writings.where(mine.generation_id.in_(part))):
            for one, another in await session.execute(query):
                found[one].append(another)
    return {one: tuple(sorted(set(others))) for one, others in found.items()}


def _both_ways(siblings: Mapping[int, tuple[int, ...]]) -> dict[int, tuple[int, ...]]:
    """Whoever is drawn beside one is drawn beside all of them."""
    found = dict(siblings)
    for one, others in siblings.items():
        turn = {one, *others}
        found |= {other: tuple(sorted(turn - {other})) for other in others}
    return found


async def _forgotten(session: AsyncSession) -> int:
    return await session.scalar(select(func.count()).where(PersonRow.forgotten_at.is_not(None))) or 0
