"""Words that come to a self by way of another: who retells a day retells whoever was heard in it.

The firewall knows whose words were in a sample's own prompt. A week that is told from days, an answer to a
letter, the far end of a long talk hold none of them, and may say them all the same. So before everybody may
read a sample, or a self learn from it, the prompts behind its prompt are looked at too, down to the first.
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

UNKNOWN = None
"""Stands for a person's words of which nobody knows the author."""


class Hearsay:
    """What decides about samples and lines that everybody may come to read, or a self to learn.

    `read` of their facts has also what came to them by way of others. What was found of a sample is kept, so
    that a long scene can be asked about in parts.
    """

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self._sources: dict[Any, Source] = {}
        self._heard: dict[int, frozenset[Any]] = {}
        """Sample -> keys of all that is behind it."""
        self._same: dict[frozenset[Any], frozenset[Any]] = {}

    async def of_generations(self, ids: Collection[int]) -> dict[int, Facts]:
        """Return what decides about samples, by id."""
        facts = await facts_of_generations(self._session, sorted(set(ids)))
        return await self._widened(facts, {number: number for number in facts}, facts)

    async def of_messages(self, ids: Collection[int]) -> dict[int, Facts]:
        """Return what decides about lines, by id."""
        ids = sorted(set(ids))
        samples = await _samples_of(self._session, ids)
        return await self._widened(await facts_of_messages(self._session, ids), samples, {})

    async def _widened(
        self, facts: Mapping[int, Facts], sample_of: Mapping[int, int], own: Mapping[int, Facts]
    ) -> dict[int, Facts]:
        """Return facts with what is behind the samples that they are of; `own` are those of samples."""
        await self._look_at(set(sample_of.values()), own)
        wide = dict(facts)
        for row, sample in sample_of.items():
            heard = self._heard[sample]
            read = tuple(self._sources[key] for key in sorted(heard - {UNKNOWN}))
            wide[row] = replace(facts[row], read=read, read_unknown=UNKNOWN in heard)
        return wide

    async def _look_at(self, samples: Collection[int], own: Mapping[int, Facts]) -> None:
        parents = await _behind(self._session, samples, self._heard)
        own = {**own, **await facts_of_generations(self._session, sorted(parents.keys() - own.keys()))}
        for sample in sorted(parents):  # what is in a prompt was said before, so it has a smaller number
            heard: set[Any] = {UNKNOWN} if own[sample].read_unknown else set()
            for source in own[sample].read:
                key = source.origin, tuple(sorted(source.said.items())), tuple(sorted(source.permitted))
                self._sources[key] = source
                heard.add(key)
            found = frozenset(heard.union(*(self._heard[parent] for parent in parents[sample])))
            self._heard[sample] = self._same.setdefault(found, found)


async def retold_in(session: AsyncSession, samples: Collection[int], prompts: Collection[int]) -> set[int]:
    """Return those of these samples that can say what was read in one of these prompts, at whatever hand."""
    if not prompts:
        return set()
    prompts, first = set(prompts), min(prompts)
    parents = await _behind(session, {sample for sample in samples if sample >= first}, (), first)
    found: set[int] = set()
    for sample in sorted(parents):
        if sample in prompts or not found.isdisjoint(parents[sample]):
            found.add(sample)
    return found.intersection(samples)


async def _behind(
    session: AsyncSession, samples: Collection[int], known: Collection[int], first: int = 0
) -> dict[int, set[int]]:
    """Return these samples and all behind them but the `known`, each with the samples said in its prompt.

    Samples before the `first` are passed over.
    """
    parents: dict[int, set[int]] = {}
    sample_of: dict[int, int | None] = {}
    todo = {sample for sample in samples if sample not in known}
    while todo:
        prompts: dict[int, list[int]] = {}
        for part in in_parts(sorted(todo)):
            read = select(GenerationRow.id, GenerationRow.prompt_message_ids)
            for number, ids in await session.execute(read.where(GenerationRow.id.in_(part))):
                prompts[number] = ids
        lines = {line for ids in prompts.values() for line in ids if line not in sample_of}
        sample_of |= dict.fromkeys(lines)
        sample_of |= await _samples_of(session, sorted(lines))
        for number, ids in prompts.items():
            said = (sample_of[line] for line in ids)
            parents[number] = {one for one in said if one is not None and first <= one < number}
        todo = {
            one for number in prompts for one in parents[number] if one not in parents and one not in known
        }
    return parents


async def _samples_of(session: AsyncSession, lines: Collection[int]) -> dict[int, int]:
    """Line -> the sample it was, of those that a self said."""
    found: dict[int, int] = {}
    for part in in_parts(lines):
        query = select(MessageRow.id, MessageRow.generation_id).where(
            MessageRow.id.in_(part), MessageRow.generation_id.is_not(None)
        )
        found |= {line: sample for line, sample in await session.execute(query) if sample is not None}
    return found
