"""Keeping what people thought of samples, and reading it back.

A blind vote hides who said what and in which order they were made: `shown_order` draws the order, and it is
kept with the vote, so that a liking for what stands first can be seen later. Saying something again under
the same key changes what was said; a key never names a person's account.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from sqlalchemy import Select, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from memory.models import FeedbackRow, GenerationRow
from memory.people import in_parts
from memory.preference import BARRED, VOTES, Opinion
from memory.ratings import Rating, bradley_terry, contests, shown_first_won
from selves.errors import StoreError, UsageError

if TYPE_CHECKING:
    from memory.store import Store

Kind = Literal["vote", "reaction", "regenerated", "best_of", "reported", "deleted", "shown"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_VALUES: dict[Kind, tuple[str, ...]] = {
    "vote": VOTES,
    "reaction": ("up", "down"),
}
_OF_TWO: tuple[Kind, ...] = ("vote", "regenerated", "best_of")


@dataclass(frozen=True, slots=True)
class Ratings:
    """How ages compare by the votes between them."""

    ratings: list[Rating]
    votes: int
    voters: int
    """Different people, as far as they are known."""
    blind: int
    shown_first_won: int
    shown_first_of: int
    """Votes that were decided and whose order is known; about half of them should have gone to the first."""


def shown_order(first: int, second: int, occasion: str) -> tuple[int, int]:
    """Return two samples in the order to show them, drawn by what names the occasion (person and time)."""
    pair = sorted((first, second))
    random.Random(f"{pair}:{occasion}").shuffle(pair)
    return pair[0], pair[1]


async def keep(
    store: Store,
    kind: Kind,
    generation_id: int,
    *,
    other_id: int | None = None,
    value: str | None = None,
    shown_first: int | None = None,
    blind: bool = False,
    person_id: int | None = None,
    via: str,
    key: str | None = None,
) -> int:
    """Keep what somebody thought, and return its id; saying it again with the same `key` changes it.

    `vote` compares `generation_id` with `other_id`: `first`, `second`, `both` or `neither`. `reaction` is
    `up` or `down`. `regenerated`: `other_id` came instead of it. `best_of`: it was chosen over `other_id`,
    by the rule that `via` names. Raises UsageError for what makes no sense, StoreError if a sample is not
    there.
    """
    _check(kind, generation_id, other_id, value, shown_first)
    async with store.writing() as session:
        about = {generation_id} if other_id is None else {generation_id, other_id}
        there = set(await session.scalars(select(GenerationRow.id).where(GenerationRow.id.in_(about))))
        if missing := sorted(about - there):
            raise StoreError(
                f"there is no generation {missing[0]} in the database", "`selves memory show` names them"
            )
        said = {
            "kind": kind,
            "generation_id": generation_id,
            "other_id": other_id,
            "value": value,
            "shown_first": shown_first,
            "blind": blind,
            "person_id": person_id,
            "via": via,
            "at": store.clock(),
            "withdrawn_at": None,
        }
        insert = store.insert(FeedbackRow).values(key=key, **said)
        if key is not None:
            insert = insert.on_conflict_do_update(index_elements=["key"], set_=said)
        kept: int = (await session.execute(insert.returning(FeedbackRow.id))).scalar_one()
        return kept


def _check(
    kind: Kind, generation_id: int, other_id: int | None, value: str | None, shown_first: int | None
) -> None:
    if kind not in KINDS:
        raise UsageError(f"there is no feedback {kind!r}", f"there are {', '.join(KINDS)}")
    if (other_id is not None) != (kind in _OF_TWO):
        raise UsageError(f"a {kind} is about {'two samples' if kind in _OF_TWO else 'one sample'}")
    if other_id == generation_id:
        raise UsageError("a sample cannot be compared with itself", "name two different ones")
    if value not in _VALUES.get(kind, (None,)):
        raise UsageError(
            f"{value!r} is nothing that a {kind} can say",
            f"say {' or '.join(_VALUES.get(kind, ('nothing',)))}",
        )
    if shown_first not in (None, generation_id, other_id):
        raise UsageError(f"generation {shown_first} is not one of the two that were compared")


async def withdraw(store: Store, key: str) -> bool:
    """Take back what was said under a key; return whether there was something."""
    async with store.writing() as session:
        taken = await session.execute(
            update(FeedbackRow)
            .where(FeedbackRow.key == key, FeedbackRow.withdrawn_at.is_(None))
            .values(withdrawn_at=store.clock())
            .returning(FeedbackRow.id)
        )
        return bool(taken.all())


async def find_opinions(
    session: AsyncSession, kinds: Collection[str], conditions: Sequence[Select[int]] = ()
) -> list[Opinion]:
    """Return what was said and not taken back, about the samples in `conditions` (queries of their ids).

    Reports and deletions come along whatever they are about.
    """
    said = (
        FeedbackRow.kind,
        FeedbackRow.generation_id,
        FeedbackRow.other_id,
        FeedbackRow.value,
        FeedbackRow.blind,
        FeedbackRow.shown_first,
    )
    standing = select(*said).where(FeedbackRow.withdrawn_at.is_(None)).order_by(FeedbackRow.id)
    asked = standing.where(FeedbackRow.kind.in_(set(kinds) - set(BARRED)))
    for ids in conditions:
        asked = asked.where(FeedbackRow.generation_id.in_(ids))
    found = [
        *await session.execute(asked),
        *await session.execute(standing.where(FeedbackRow.kind.in_(BARRED))),
    ]
    return [Opinion(*row) for row in found]


async def rate(store: Store, lineage: str | None = None) -> Ratings:
    """Compare ages, or those of a lineage, by the votes between them."""
    async with store.reading() as session:
        votes = await find_opinions(session, ["vote"])
        ages: dict[int, str] = {}
        for part in in_parts({i for vote in votes for i in (vote.generation_id, vote.other_id) if i}):
            found = await session.execute(
                select(GenerationRow.id, GenerationRow.address).where(GenerationRow.id.in_(part))
            )
            ages.update(
                (row_id, address)
                for row_id, address in found
                if lineage is None or address.startswith(f"{lineage}@")
            )
        barred = {opinion.generation_id for opinion in votes if opinion.kind in BARRED}
        between = [
            vote
            for vote in votes
            if vote.kind == "vote"
            and not barred & {vote.generation_id, vote.other_id}
            and vote.generation_id in ages
            and vote.other_id in ages
            and ages[vote.generation_id] != ages[vote.other_id]
        ]
        voters = await session.scalars(
            select(FeedbackRow.person_id)
            .where(
                FeedbackRow.kind == "vote",
                FeedbackRow.person_id.is_not(None),
                FeedbackRow.withdrawn_at.is_(None),
            )
            .distinct()
        )
        won, decided = shown_first_won(between)
        return Ratings(
            ratings=bradley_terry(contests(between, ages)),
            votes=len(between),
            voters=len(voters.all()),
            blind=sum(vote.blind for vote in between),
            shown_first_won=won,
            shown_first_of=decided,
        )
