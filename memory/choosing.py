"""What an export is made of: of what was asked for, what the rules and the firewall let through.

Only ids are read here; words are opened later, for a few rows at a time.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import and_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from memory.feedback import find_opinions
from memory.firewall import facts_of_generations, facts_of_messages, verdict
from memory.likeness import split_of
from memory.models import GenerationRow, MessageRow
from memory.people import in_parts
from memory.preference import Opinion, Sample, make_labels, make_pairs
from memory.types import HUMAN_ORIGINS
from memory.wanted import OF_SCENES, Item, Wanted, of_samples, sample_ids, scene_ids

FAILED = ("error", "cancelled")
"""Finish reasons of samples that are no whole answer."""


class Chosen(NamedTuple):
    """What an export is made of, and what was left out and why.

    On which grounds an item may be used is in its detail `basis`.
    """

    items: list[Item]
    left_out: Counter[str]


class _Sample(NamedTuple):
    sample: Sample
    group: str
    """What it is split by."""


async def choose(session: AsyncSession, wanted: Wanted) -> Chosen:
    """Return what an export is made of, the part to train on first."""
    left_out: Counter[str] = Counter()
    if wanted.format in OF_SCENES:
        return await _permitted_lines(session, wanted, await _lines(session, wanted), left_out)
    if wanted.format in ("dpo", "kto"):
        items = await _judged(session, wanted, left_out)
    else:
        items = await _posted(session, wanted, left_out)
    items.sort(key=lambda item: item.generation_ids)
    chosen = await _permitted_samples(session, items, left_out, wanted.limit)
    chosen.items.sort(key=lambda item: item.split == "test")
    return chosen


async def refused(session: AsyncSession, wanted: Wanted, items: Sequence[Item]) -> str:
    """Return why something of an export may not be used any more; "" if all of it may."""
    if wanted.format in OF_SCENES:
        shown = [item.message_id for item in items if item.message_id and not item.said("hidden")]
        facts = await facts_of_messages(session, shown)
    else:
        facts = await facts_of_generations(session, [i for item in items for i in item.generation_ids])
    for fact in facts.values():
        judged = verdict(wanted.purpose, fact)
        if not judged.allowed:
            return judged.reason
    return ""


async def _judged(session: AsyncSession, wanted: Wanted, left_out: Counter[str]) -> list[Item]:
    """Pairs or labels."""
    opinions = await find_opinions(session, wanted.sources, sample_ids(wanted))
    if "best_of" in wanted.sources:
        opinions += await _best_of(session, wanted)
    ids = {i for opinion in opinions for i in (opinion.generation_id, opinion.other_id) if i is not None}
    found = await _samples(session, ids)
    samples = {row_id: one.sample for row_id, one in found.items()}
    if wanted.format == "dpo":
        decided = make_pairs(opinions, samples, wanted.sources)
        items = [
            Item(
                split_of(found[pair.chosen].group, wanted.test_share),
                pair.chosen,
                pair.rejected,
                detail={
                    "source": pair.source,
                    "strength": pair.strength,
                    "agreed": pair.agreed,
                    "disagreed": pair.disagreed,
                },
            )
            for pair in decided.pairs
        ]
    else:
        decided = make_labels(opinions, samples, wanted.sources)
        items = [
            Item(
                split_of(found[label.sample].group, wanted.test_share),
                label.sample,
                detail={
                    "label": label.wanted,
                    "source": label.source,
                    "strength": label.strength,
                    "agreed": label.agreed,
                    "disagreed": label.disagreed,
                },
            )
            for label in decided.labels
        ]
    left_out.update(decided.left_out)
    return items


async def _best_of(session: AsyncSession, wanted: Wanted) -> list[Opinion]:
    """What the house itself chose among several samples for one turn."""
    best, other = GenerationRow, aliased(GenerationRow)
    query = (
        select(best.id, other.id)
        .join(other, and_(other.scene_id == best.scene_id, other.turn == best.turn, other.chosen.is_(False)))
        .where(best.chosen, best.turn.is_not(None), *of_samples(wanted))
        .order_by(best.id, other.id)
    )
    return [Opinion("best_of", chosen, rejected) for chosen, rejected in await session.execute(query)]


async def _posted(session: AsyncSession, wanted: Wanted, left_out: Counter[str]) -> list[Item]:
    """Samples that became lines; where feedback is asked for, those that people wanted."""
    query = (
        select(GenerationRow.id)
        .where(GenerationRow.chosen, GenerationRow.scene_id.is_not(None), *of_samples(wanted))
        .order_by(GenerationRow.id)
    )
    ids: list[int] = list(await session.scalars(query))
    details: dict[int, dict[str, object]] = {}
    if wanted.format == "sft" and wanted.sources:
        opinions = await find_opinions(session, wanted.sources, sample_ids(wanted))
        judged = await _samples(
            session, {i for o in opinions for i in (o.generation_id, o.other_id) if i is not None}
        )
        decided = make_labels(opinions, {i: one.sample for i, one in judged.items()}, wanted.sources)
        left_out.update(decided.left_out)
        details = {
            label.sample: {"source": label.source, "strength": label.strength}
            for label in decided.labels
            if label.wanted
        }
        ids = sorted(details)
    items = []
    prompts: set[str] = set()
    for row_id, one in (await _samples(session, ids)).items():
        if not one.sample.words:
            left_out["a sample that failed or said nothing"] += 1
        elif wanted.format == "grpo-prompts" and one.sample.prompt in prompts:
            left_out["twice the same prompt"] += 1
        else:
            prompts.add(one.sample.prompt)
            items.append(Item(split_of(one.group, wanted.test_share), row_id, detail=details.get(row_id)))
    return items


async def _samples(session: AsyncSession, ids: Iterable[int]) -> dict[int, _Sample]:
    found: dict[int, _Sample] = {}
    ages: dict[str, str] = {}
    for part in in_parts(sorted(ids)):
        query = select(
            GenerationRow.id,
            GenerationRow.prompt_sha256,
            GenerationRow.address,
            GenerationRow.weights_sha256,
            GenerationRow.text,
            GenerationRow.finish_reason,
            GenerationRow.scene_id,
        ).where(GenerationRow.id.in_(part))
        for row_id, prompt, address, weights, text, finish_reason, scene_id in await session.execute(query):
            said = "" if finish_reason in FAILED else text.strip()
            words = said and hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:32]
            age = f"{address} {weights}"
            # one string for all samples of an age: there may be hundreds of thousands
            sample = Sample(row_id, prompt, ages.setdefault(age, age), words)
            found[row_id] = _Sample(sample, f"prompt {prompt}" if scene_id is None else f"scene {scene_id}")
    return found


async def _permitted_samples(
    session: AsyncSession, items: Sequence[Item], left_out: Counter[str], limit: int | None
) -> Chosen:
    kept: list[Item] = []
    for part in in_parts(items):
        facts = await facts_of_generations(session, [i for item in part for i in item.generation_ids])
        for item in part:
            if len(kept) == limit:
                return Chosen(kept, left_out)
            judged = [verdict("train", facts[i]) for i in item.generation_ids]
            if no := next((one for one in judged if not one.allowed), None):
                left_out[no.reason] += 1
                continue
            kept.append(item._replace(detail={**(item.detail or {}), "basis": judged[0].reason}))
    return Chosen(kept, left_out)


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
    for part in in_parts(lines):
        facts = await facts_of_messages(session, [line.message_id for line in part])
        for line in part:
            judged = verdict(wanted.purpose, facts[line.message_id])
            if not judged.allowed:
                left_out[judged.reason] += 1
                if wanted.purpose == "train":
                    parted = True
                    continue
                if not line.human:
                    continue
            if line.scene_id != last or parted:
                if row == wanted.limit:
                    return _shown(kept, left_out)
                row, last, parted = row + 1, line.scene_id, False
            detail = {"basis": judged.reason} if judged.allowed else {"hidden": True}
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


def _shown(items: Sequence[Item], left_out: Counter[str]) -> Chosen:
    """Leave out rows in which nothing at all may be shown."""
    shown = {item.said("row") for item in items if not item.said("hidden")}
    return Chosen([item for item in items if item.said("row") in shown], left_out)
