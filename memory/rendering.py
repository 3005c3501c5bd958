"""From ids to rows: the words of an export are opened for a few hundred rows at a time.

The same items give the same rows, in the same order, whenever they are rendered: so an export can be made
again from what is kept of it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from memory import dce, formats, rows
from memory.firewall import for_everybody
from memory.formats import Row
from memory.likeness import Seen
from memory.models import GenerationRow, MessageRow, SceneRow
from memory.people import read_generations, read_messages
from memory.types import Generation, Message, Scene
from memory.wanted import Item, Wanted

AT_ONCE = 500


class Rendered(NamedTuple):
    """One row of an export."""

    items: tuple[Item, ...]
    """What it is made of."""
    split: str
    content: Row | dce.Written
    provenance: Row
    origins: tuple[str, ...]
    """Where its words come from; of a scene, those of each line."""
    ages: tuple[str, ...]


async def render(
    session: AsyncSession, wanted: Wanted, items: Sequence[Item], skip: Callable[[str], None]
) -> AsyncIterator[Rendered]:
    """Yield the rows of an export; `skip` is told why something makes none."""
    if wanted.format in formats.OF_SCENES:
        made = _scenes(session, wanted, items)
    else:
        made = _samples(session, wanted, items, skip)
    async for one in made:
        yield one


async def _samples(
    session: AsyncSession, wanted: Wanted, items: Sequence[Item], skip: Callable[[str], None]
) -> AsyncIterator[Rendered]:
    trained_on, written = Seen(), set()
    numbers: Counter[str] = Counter()
    for start in range(0, len(items), AT_ONCE):
        part = items[start : start + AT_ONCE]
        samples = await _generations(session, part)
        rejected = await _texts(session, part)
        for item in part:
            first = samples[item.generation_id or 0]
            said = None if first.prompt is None else formats.conversation(first.prompt)
            if said is None:
                skip("its prompt is gone" if first.prompt is None else "its prompt is no conversation")
                continue
            content = _content(wanted, item, said, first, rejected.get(item.other_id or 0, ""))
            digest = hashlib.sha256(formats.to_line(content)).digest()
            if digest in written:
                skip("twice the same row")
                continue
            if wanted.test_share:
                words = formats.prompt_words(said)
                if item.split == "test" and trained_on.has_like(words):
                    skip("a prompt to test on that is nearly the same as one to train on")
                    continue
                if item.split == "train":
                    trained_on.add(words)
            written.add(digest)
            numbers[item.split] += 1
            yield Rendered(
                items=(item,),
                split=item.split,
                content=content,
                provenance=_provenance(item, numbers[item.split], first),
                origins=("self", *(f"prompt: {origin}" for origin in _read(first))),
                ages=(first.address,),
            )


async def _generations(session: AsyncSession, items: Sequence[Item]) -> dict[int, Generation]:
    ids = {item.generation_id for item in items}
    found = await session.scalars(select(GenerationRow).where(GenerationRow.id.in_(ids)))
    samples = {one.id: one for one in await read_generations(session, found.all())}
    session.expunge_all()
    return samples


async def _texts(session: AsyncSession, items: Sequence[Item]) -> dict[int, str]:
    """What was rejected; its prompt is that of what was chosen."""
    ids = {item.other_id for item in items if item.other_id is not None}
    found = await session.execute(
        select(GenerationRow.id, GenerationRow.text).where(GenerationRow.id.in_(ids))
    )
    return {row.id: row.text for row in found}


def _content(wanted: Wanted, item: Item, asked: list[formats.Said], sample: Generation, rejected: str) -> Row:
    said = formats.completion(sample.form, sample.text)
    match wanted.format:
        case "dpo":
            return formats.dpo_row(asked, said, formats.completion(sample.form, rejected))
        case "kto":
            return formats.kto_row(asked, said, wanted=item.said("label"))
        case "sft":
            return formats.sft_row(asked, said)
        case _:
            return formats.grpo_row(asked)


def _provenance(item: Item, number: int, sample: Generation) -> Row:
    made: Row = {"split": item.split, "row": number, "generation": item.generation_id}
    if item.other_id is not None:
        made["rejected"] = item.other_id
    return made | {
        "address": sample.address,
        "weights_sha256": sample.weights_sha256,
        "scene": sample.scene_id,
        "prompt_sha256": sample.prompt_sha256,
        **{name: value for name, value in (item.detail or {}).items() if name != "label"},
    }


def _read(sample: Generation) -> tuple[str, ...]:
    return ("unknown",) if sample.prompt_origins is None else sample.prompt_origins


async def _scenes(session: AsyncSession, wanted: Wanted, items: Sequence[Item]) -> AsyncIterator[Rendered]:
    numbers: Counter[str] = Counter()
    for part in _in_parts(items):
        lines = await _messages(session, [item.message_id for row in part for item in row])
        scenes = await _scene_rows(session, {line.scene_id for line in lines.values()})
        for row in part:
            said = [lines[item.message_id or 0] for item in row]
            hidden = frozenset(item.message_id for item in row if item.said("hidden") and item.message_id)
            scene, split = scenes[said[0].scene_id], row[0].split
            numbers[split] += 1
            content: Row | dce.Written = (
                dce.Written(scene, tuple(said), hidden)
                if wanted.format == "dce"
                else formats.transcript_row(scene, [None if one.id in hidden else one for one in said])
            )
            shown = [one for one in said if one.id not in hidden]
            yield Rendered(
                items=tuple(row),
                split=split,
                content=content,
                provenance={
                    "split": split,
                    "row": numbers[split],
                    "scene": scene.id,
                    "messages": [one.id for one in said],
                },
                origins=tuple(one.origin for one in shown),
                ages=tuple(one.address for one in shown if one.address),
            )


def _in_parts(items: Sequence[Item]) -> Iterator[list[list[Item]]]:
    """Yield the items of whole rows, some rows at a time."""
    part: list[list[Item]] = []
    for _, row in groupby(items, key=lambda item: item.said("row")):
        part.append(list(row))
        if sum(map(len, part)) >= AT_ONCE:
            yield part
            part = []
    if part:
        yield part


async def _messages(session: AsyncSession, ids: Sequence[int | None]) -> dict[int, Message]:
    found = await session.scalars(select(MessageRow).where(MessageRow.id.in_(ids)))
    lines = {line.id: line for line in await read_messages(session, found.all())}
    session.expunge_all()
    return lines


async def _scene_rows(session: AsyncSession, ids: set[int]) -> dict[int, Scene]:
    found = await session.scalars(select(SceneRow).where(SceneRow.id.in_(ids)))
    return {row.id: for_everybody(rows.to_scene(row)) for row in found}
