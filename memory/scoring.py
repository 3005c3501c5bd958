"""Reckoning the cheap scores of all samples, and keeping scores (see `memory/scores.py` for what they mean).

scored = await score(store, against=[Path("corpus.txt")])
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, or_, select

from memory import scores
from memory.models import CheckpointRow, GenerationRow, ScoreRow
from memory.people import read_generations
from memory.scores import Name, Seen
from memory.store import Store
from memory.types import Generation
from selves.errors import UsageError

BATCH = 1000
PIECE = 1 << 20
CHARACTERS_PER_WORD = 4
"""At least; it tells how large a set of runs of words must be."""

SAMPLES = "samples"

Progress = Callable[[str, int], None]
"""Told what is being done, and how much of it was done since: bytes of a file, or samples."""

_SAID = or_(GenerationRow.chosen, GenerationRow.turn.is_(None))
"""Samples that became lines, and writings: what a lineage has said."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a run of `score` did."""

    samples: int
    """That got scores."""
    kept: int
    """Scores that were written."""


@dataclass(frozen=True, slots=True)
class _Sample:
    id: int
    lineage: str
    text: str
    said: bool


async def count_samples(store: Store) -> int:
    """Return how many samples `score` goes through."""
    async with store.reading() as session:
        return await session.scalar(select(func.count(GenerationRow.id))) or 0


async def score(
    store: Store,
    *,
    against: Sequence[Path] = (),
    again: bool = False,
    on_progress: Progress = lambda _what, _done: None,
) -> Scored:
    """Reckon zlib, repeats and novelty for samples that have none yet, or `again` for all.

    With `against`, `copied` too, for all: name every file that a self may have learned by heart, in one run.
    All samples are read in the order they were kept, because novelty counts against all that was said
    before. Raises UsageError when a file cannot be read.
    """
    learned = _learn(against, on_progress)
    kept = samples = 0
    said = {lineage: Seen(size) for lineage, size in await _sizes(store)}
    async for batch in _batches(store):
        done = set() if again else await _done(store, [sample.id for sample in batch])
        values: dict[tuple[int, str], float] = {}
        for sample in batch:
            if not sample.text:
                continue
            before = said.setdefault(sample.lineage, Seen(0))
            if sample.id not in done:
                values[sample.id, "zlib"] = scores.compression(sample.text)
                values[sample.id, "repeats"] = scores.repeats(sample.text)
                values[sample.id, "novelty"] = scores.novelty(sample.text, before)
            if learned is not None:
                values[sample.id, "copied"] = scores.copied(sample.text, learned)
            if sample.said:
                scores.say(sample.text, before)
        await _write(store, values)
        kept += len(values)
        samples += len({sample_id for sample_id, _ in values})
        on_progress(SAMPLES, len(batch))
    return Scored(samples, kept)


async def keep_scores(store: Store, name: Name, values: Mapping[int, float]) -> None:
    """Keep a score of each of some samples, by generation id; the newest counts."""
    await _write(store, {(generation_id, name): value for generation_id, value in values.items()})


async def without_score(
    store: Store, name: Name, *, lineage: str | None = None, most: int = 100
) -> list[Generation]:
    """Return the newest samples that were said, whose prompt is still there, and that have no such score."""
    row = GenerationRow
    has = select(ScoreRow.generation_id).where(ScoreRow.generation_id == row.id, ScoreRow.name == name)
    query = select(row).where(_SAID, row.text != "", row.prompt.is_not(None), ~has.exists())
    if lineage is not None:
        query = query.where(row.address.startswith(f"{lineage}@", autoescape=True))
    async with store.reading() as session:
        rows = list(await session.scalars(query.order_by(row.id.desc()).limit(most)))
        found = await read_generations(session, rows)
    return [generation for generation in found if generation.prompt is not None]


async def neighbours(store: Store, lineage: str) -> list[str]:
    """Return a lineage's addresses in order of life."""
    row = CheckpointRow
    query = select(row.address).where(row.lineage == lineage).order_by(row.created_at, row.step, row.id)
    async with store.reading() as session:
        found = await session.scalars(query)
        return list(dict.fromkeys(found))


def _learn(files: Sequence[Path], on_progress: Progress) -> Seen | None:
    if not files:
        return None
    try:
        learned = Seen(sum(path.stat().st_size for path in files))
        for path in files:
            scores.learn(learned, _pieces(path, on_progress))
    except OSError as error:
        raise UsageError(
            f"{error.filename} cannot be read: {error.strerror or error}", "name text files in UTF-8"
        ) from error
    return learned


def _pieces(path: Path, on_progress: Progress) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        while piece := file.read(PIECE):
            on_progress(path.name, len(piece.encode("utf-8")))
            yield piece


async def _sizes(store: Store) -> list[tuple[str, int]]:
    """How many words each lineage has said, at most."""
    words: dict[str, int] = {}
    query = select(GenerationRow.address, func.sum(func.length(GenerationRow.text)))
    async with store.reading() as session:
        for address, characters in await session.execute(query.group_by(GenerationRow.address)):
            lineage = _lineage(address)
            words[lineage] = words.get(lineage, 0) + (int(characters or 0) // CHARACTERS_PER_WORD)
    return list(words.items())


async def _batches(store: Store) -> AsyncIterator[list[_Sample]]:
    row = GenerationRow
    columns = (row.id, row.address, row.text, row.chosen, row.turn)
    last = 0
    while True:
        query = select(*columns).where(row.id > last).order_by(row.id).limit(BATCH)
        # one session a batch: who reads for a long time keeps SQLite's log from being emptied
        async with store.reading() as session:
            rows = (await session.execute(query)).all()
        if not rows:
            return
        last = rows[-1][0]
        yield [
            _Sample(sample_id, _lineage(address), text, chosen or turn is None)
            for sample_id, address, text, chosen, turn in rows
        ]


async def _done(store: Store, ids: Sequence[int]) -> set[int]:
    query = select(ScoreRow.generation_id).where(ScoreRow.generation_id.in_(ids), ScoreRow.name == "novelty")
    async with store.reading() as session:
        return set(await session.scalars(query))


async def _write(store: Store, values: Mapping[tuple[int, str], float]) -> None:
    if not values:
        return
    async with store.writing() as session:
        insert = store.insert(ScoreRow)
        await session.execute(
            insert.on_conflict_do_update(
                index_elements=["generation_id", "name"], set_={"value": insert.excluded.value}
            ),
            [
                {"generation_id": generation_id, "name": name, "value": value}
                for (generation_id, name), value in values.items()
            ],
        )


def _lineage(address: str) -> str:
    return address.partition("@")[0]
