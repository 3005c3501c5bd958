"""Samples that an export for training could be made of: judged by people or a rule, or posted as lines.

They come some thousands at a time, with no words in them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Any, NamedTuple

from sqlalchemy import and_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from memory.feedback import find_opinions
from memory.likeness import split_of
from memory.models import GenerationRow
from memory.people import AT_ONCE, in_parts
from memory.preference import Label, Opinion, Pair, Sample, make_labels, make_pairs
from memory.related import related
from memory.wanted import Item, Wanted, of_samples, sample_ids

FAILED = ("error", "cancelled")
"""Finish reasons of samples that are no whole answer."""


class _Known(NamedTuple):
    sample: Sample
    group: str
    """What it is split by."""


async def judged(session: AsyncSession, wanted: Wanted, left_out: Counter[str]) -> AsyncIterator[list[Item]]:
    """Yield pairs (of `dpo`), labels (of `kto`), or what was wanted (of `sft`)."""
    opinions = await find_opinions(session, wanted.sources, sample_ids(wanted))
    if "best_of" in wanted.sources:
        opinions += await _best_of(session, wanted)
    for part in related(opinions, AT_ONCE):
        ids = {i for one in part for i in (one.generation_id, one.other_id) if i is not None}
        known = await _known(session, ids)
        samples = {row_id: one.sample for row_id, one in known.items()}
        if wanted.format == "dpo":
            decided = make_pairs(part, samples, wanted.sources)
            items = [_item(wanted, known, pair.chosen, pair.rejected, pair) for pair in decided.pairs]
        else:
            decided = make_labels(part, samples, wanted.sources)
            labels = (label for label in decided.labels if label.wanted or wanted.format == "kto")
            items = [_item(wanted, known, label.sample, None, label) for label in labels]
        left_out.update(decided.left_out)
        yield items


def _item(
    wanted: Wanted, known: dict[int, _Known], sample: int, rejected: int | None, why: Pair | Label
) -> Item:
    detail: dict[str, Any] = {"label": why.wanted} if isinstance(why, Label) else {}
    detail |= {
        "source": why.source,
        "strength": why.strength,
        "agreed": why.agreed,
        "disagreed": why.disagreed,
    }
    return Item(split_of(known[sample].group, wanted.test_share), sample, rejected, detail=detail)


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


async def posted(session: AsyncSession, wanted: Wanted, left_out: Counter[str]) -> AsyncIterator[list[Item]]:
    """Yield samples that became lines; of `grpo-prompts` one for each prompt."""
    ids = await session.scalars(
        select(GenerationRow.id)
        .where(GenerationRow.chosen, GenerationRow.scene_id.is_not(None), *of_samples(wanted))
        .order_by(GenerationRow.id)
    )
    prompts: set[str] = set()
    for part in in_parts(ids):
        items = []
        for row_id, one in sorted((await _known(session, part)).items()):
            if not one.sample.words:
                left_out["a sample that failed or said nothing"] += 1
            elif one.sample.prompt in prompts:
                left_out["twice the same prompt"] += 1
            else:
                if wanted.format == "grpo-prompts":
                    prompts.add(one.sample.prompt)
                items.append(Item(split_of(one.group, wanted.test_share), row_id))
        yield items


async def _known(session: AsyncSession, ids: Iterable[int]) -> dict[int, _Known]:
    found: dict[int, _Known] = {}
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
            words = said and hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()
            group = f"prompt {prompt}" if scene_id is None else f"scene {scene_id}"
            found[row_id] = _Known(Sample(row_id, prompt, f"{address} {weights}", words), group)
    return found
