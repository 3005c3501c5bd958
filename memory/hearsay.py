"""Words that come to a self by way of another: who retells a day retells whoever was heard in it.

The firewall knows whose words were in a sample's own prompt. A week that is told from days, an answer to a
letter, the far end of a long talk hold none of them, and may say them all the same. So before everybody may
read a sample, the prompts behind its prompt are looked at too, down to the first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from memory.firewall import Facts, Source, facts_of_generations, facts_of_messages
from memory.models import GenerationRow, MessageRow
from memory.people import in_parts


async def deep_facts_of_generations(session: AsyncSession, ids: Collection[int]) -> dict[int, Facts]:
    """Return what decides about samples, by id; `read` has also what came to them by way of others."""
    facts = await facts_of_generations(session, sorted(set(ids)))
    return await _widened(session, facts, {number: number for number in facts})


async def deep_facts_of_messages(session: AsyncSession, ids: Collection[int]) -> dict[int, Facts]:
    """Return what decides about lines, by id, likewise."""
    ids = sorted(set(ids))
    samples = await _samples_of(session, ids)
    return await _widened(session, await facts_of_messages(session, ids), samples)


async def _widened(
    session: AsyncSession, facts: Mapping[int, Facts], sample_of: Mapping[int, int]
) -> dict[int, Facts]:
    parents = await _parents(session, set(sample_of.values()))
    own = await facts_of_generations(session, sorted(parents))
    sources: dict[Any, Source] = {}
    heard: dict[int, set[Any]] = {}
    unknown: set[int] = set()
    for sample in sorted(parents):  # what is in a prompt was said before, so it has a smaller number
        mine = own.get(sample)
        keys = {_key(source): source for source in (mine.read if mine else ())}
        sources.update(keys)
        heard[sample] = set(keys).union(*(heard.get(parent, set()) for parent in parents[sample]))
        if (mine and mine.read_unknown) or not unknown.isdisjoint(parents[sample]):
            unknown.add(sample)
    return {
        row: replace(
            fact,
            read=tuple(sources[key] for key in sorted(heard[sample_of[row]])),
            read_unknown=fact.read_unknown or sample_of[row] in unknown,
        )
        if row in sample_of
        else fact
        for row, fact in facts.items()
    }


async def _parents(session: AsyncSession, samples: Collection[int]) -> dict[int, set[int]]:
    """Return these samples and all behind them, each with the samples that were said in its prompt."""
    prompts: dict[int, tuple[int, ...]] = {}
    sample_of: dict[int, int] = {}
    asked: set[int] = set()
    todo = set(samples)
    while todo:
        for part in in_parts(sorted(todo)):
            found = select(GenerationRow.id, GenerationRow.prompt_message_ids).where(
                GenerationRow.id.in_(part)
            )
            prompts |= {number: tuple(ids) for number, ids in await session.execute(found)}
        new = {line for number in todo for line in prompts.get(number, ())} - asked
        asked |= new
        said = await _samples_of(session, sorted(new))
        sample_of |= said
        todo = set(said.values()) - prompts.keys()
    return {
        number: {sample_of[line] for line in lines if line in sample_of and sample_of[line] < number}
        for number, lines in prompts.items()
    }


async def _samples_of(session: AsyncSession, lines: Collection[int]) -> dict[int, int]:
    """Line -> the sample it was, of those that a self said."""
    found: dict[int, int] = {}
    for part in in_parts(lines):
        query = select(MessageRow.id, MessageRow.generation_id).where(
            MessageRow.id.in_(part), MessageRow.generation_id.is_not(None)
        )
        found |= {line: sample for line, sample in await session.execute(query) if sample is not None}
    return found


def _key(source: Source) -> Any:
    return source.origin, tuple(sorted(source.said.items())), tuple(sorted(source.permitted))
