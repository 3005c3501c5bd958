"""What an export is made of: of what was asked for, what the rules and the firewall let through.

Only ids are read here; words are opened later, for a few rows at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from memory.candidates import judged, posted
from memory.firewall import Facts, facts_of_messages, verdict
from memory.formats import OF_SCENES
from memory.hearsay import Hearsay
from memory.likeness import split_of
from memory.models import GenerationRow, MessageRow
from memory.people import in_parts
from memory.types import HUMAN_ORIGINS
from memory.wanted import Item, Wanted, scene_ids


class Chosen(NamedTuple):
    """What an export is made of, and what was left out and why.

    On which grounds an item may be used is in its detail `basis`.
    """

    items: list[Item]
    left_out: Counter[str]


async def choose(session: AsyncSession, wanted: Wanted) -> Chosen:
    """Return what an export is made of, the part to train on first."""
    left_out: Counter[str] = Counter()
    if wanted.format in OF_SCENES:
        return await _permitted_lines(session, wanted, await _lines(session, wanted), left_out)
    from_feedback = wanted.format in ("dpo", "kto") or (wanted.format == "sft" and wanted.sources)
    found = (judged if from_feedback else posted)(session, wanted, left_out)
    kept: list[Item] = []
    hearsay = Hearsay(session)
    details: dict[tuple[Any, ...], dict[str, Any]] = {}
    async for items in found:
        for item in await _permitted(hearsay, items, left_out):
            # one detail for all rows that have the same: there may be hundreds of thousands
            said = item.detail or {}
            kept.append(item._replace(detail=details.setdefault(tuple(said.items()), said)))
            if len(kept) == wanted.limit:
                break
        if len(kept) == wanted.limit:
            break
    return Chosen(sorted(kept, key=lambda item: item.split == "test"), left_out)


async def refused(session: AsyncSession, wanted: Wanted, items: Sequence[Item]) -> str:
    """Return why something of an export may not be used any more; "" if all of it may."""
    hearsay = Hearsay(session)
    facts_of = _facts_for(wanted, session)
    for part in in_parts(items):
        if wanted.format in OF_SCENES:
            shown = [item.message_id for item in part if item.message_id and not item.said("hidden")]
            facts = await facts_of(shown)
        else:
            facts = await hearsay.of_generations([i for item in part for i in item.generation_ids])
            gone = select(GenerationRow.id).where(
                GenerationRow.id.in_([item.generation_id for item in part]), GenerationRow.prompt.is_(None)
            )
            if await session.scalar(gone.limit(1)) is not None:
                return "its prompt is gone"
        for fact in facts.values():
            allowed, reason = verdict(wanted.purpose, fact)
            if not allowed:
                return reason
    return ""


async def _permitted(hearsay: Hearsay, items: Sequence[Item], left_out: Counter[str]) -> list[Item]:
    kept: list[Item] = []
    facts = await hearsay.of_generations([i for item in items for i in item.generation_ids])
    for item in items:
        verdicts = [verdict("train", facts[i]) for i in item.generation_ids]
        if no := next((one for one in verdicts if not one.allowed), None):
            left_out[no.reason] += 1
        else:
            kept.append(item._replace(detail={**(item.detail or {}), "basis": verdicts[0].reason}))
    return kept


class _Line(NamedTuple):
    scene_id: int
    message_id: int
    generation_id: int | None
    human: bool


async def _lines(session: AsyncSession, wanted: Wanted) -> list[_Line]:
    query = (
        select(MessageRow.scene_id, MessageRow.id, MessageRow.generation_id, MessageRow.origin)
        .where(MessageRow.scene_id.in_(scene_ids(wanted)))
        .order_by(MessageRow.scene_id, MessageRow.sequence)
    )
    return [
        _Line(scene_id, message_id, generation_id, origin in HUMAN_ORIGINS)
        for scene_id, message_id, generation_id, origin in await session.execute(query)
    ]


async def _permitted_lines(
    session: AsyncSession, wanted: Wanted, lines: Sequence[_Line], left_out: Counter[str]
) -> Chosen:
    """Return the lines with the number of their row.

    A person's line that may not be shown keeps its place; where lines are to train on, it parts a scene.
    """
    kept: list[Item] = []
    row, last, parted = 0, None, False
    facts_of = _facts_for(wanted, session)
    for part in in_parts(lines):
        facts = await facts_of([line.message_id for line in part])
        for line in part:
            allowed, reason = verdict(wanted.purpose, facts[line.message_id])
            if not allowed:
                left_out[reason] += 1
                if wanted.purpose == "train":
                    parted = True
                    continue
                if not line.human:
                    continue
            if line.scene_id != last or parted:
                if row == wanted.limit:
                    return _shown(kept, left_out)
                row, last, parted = row + 1, line.scene_id, False
            detail = {"basis": reason} if allowed else {"hidden": True}
            kept.append(
                Item(
                    "scenes"
                    if wanted.format == "dce"
                    else split_of(f"scene {line.scene_id}", wanted.test_share),
                    line.generation_id,
                    message_id=line.message_id,
                    detail={"row": row, **detail},
                )
            )
    return _shown(kept, left_out)


def _facts_for(wanted: Wanted, session: AsyncSession) -> Callable[[list[int]], Awaitable[dict[int, Facts]]]:
    """What decides about lines; where they leave the house or are learned, also hearsay."""
    if wanted.purpose in ("publish", "train"):
        return Hearsay(session).of_messages
    return partial(facts_of_messages, session)


def _shown(items: Sequence[Item], left_out: Counter[str]) -> Chosen:
    """Leave out rows in which nothing at all may be shown."""
    shown = {item.said("row") for item in items if not item.said("hidden")}
    return Chosen([item for item in items if item.said("row") in shown], left_out)
