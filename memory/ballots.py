"""What to vote on next: two samples of one age for the same prompt, or two ages' writings on one prompt.

What was voted on already does not come again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import CTE, ColumnElement, and_, func, select
from sqlalchemy.orm import aliased

from memory.candidates import FAILED
from memory.feedback import shown_order
from memory.models import FeedbackRow, GenerationRow, WritingRow
from memory.people import read_generations
from memory.types import Generation

if TYPE_CHECKING:
    from memory.store import Store


NEWEST = 2000
"""So many samples are looked at before all others: what nobody voted on yet is mostly new."""


class Ballot(NamedTuple):
    """Two samples, in the order to show them."""

    first: Generation
    second: Generation

    def key(self, voter: str) -> str:
        """What makes a voter's vote on these two single."""
        lower, upper = sorted((self.first.id, self.second.id))
        return f"{voter}:vote:{lower}:{upper}"


async def find_ballots(
    store: Store, *, lineage: str | None = None, between_ages: bool = False, limit: int = 20
) -> list[Ballot]:
    """Return what nobody voted on yet, the newest first, each in an order drawn for it."""
    one, other = aliased(GenerationRow), aliased(GenerationRow)
    fit: list[ColumnElement[bool]] = [one.prompt_sha256 == other.prompt_sha256, one.text != other.text]
    for sample in (one, other):
        fit += [sample.finish_reason.not_in(FAILED), func.trim(sample.text) != ""]
        if lineage is not None:
            fit.append(sample.address.startswith(f"{lineage}@", autoescape=True))
    if not between_ages:
        fit += [one.address == other.address, one.weights_sha256 == other.weights_sha256]
    pairs: list[tuple[int, int]] = []
    async with store.reading() as session:
        new = (await session.scalar(select(func.max(GenerationRow.id))) or 0) - NEWEST
        for is_new in (True, False):
            open_pairs = _open_pairs(new, is_new=is_new, between_ages=between_ages)
            query = (
                select(one.id, other.id)
                .join_from(open_pairs, one, one.id == open_pairs.c.one)
                .join(other, other.id == open_pairs.c.other)
                .where(*fit)
                .order_by(other.id.desc(), one.id.desc())
                .limit(limit - len(pairs))
            )
            pairs += [(first, second) for first, second in await session.execute(query)]
            if len(pairs) == limit:
                break
        ids = {row_id for pair in pairs for row_id in pair}
        found = await session.scalars(select(GenerationRow).where(GenerationRow.id.in_(ids)))
        samples = {sample.id: sample for sample in await read_generations(session, found.all())}
    occasion = f"{store.house.house_id} {store.clock().isoformat()}"
    return [
        Ballot(*(samples[row_id] for row_id in shown_order(first, second, occasion)))
        for first, second in pairs
    ]


def _open_pairs(new: int, *, is_new: bool, between_ages: bool) -> CTE:
    """Return `one` and `other`, the later, of two samples that belong together and that nobody voted on.

    The later one is after `new`, or else not. Nothing but indexes is read, since rows are long.
    """
    if between_ages:
        writing, another = WritingRow, aliased(WritingRow)
        one, other = writing.generation_id, another.generation_id
        pairs = select(one.label("one"), other.label("other")).join(
            another, and_(another.kind == writing.kind, another.address != writing.address)
        )
    else:
        sample, sibling = GenerationRow, aliased(GenerationRow)
        one, other = sample.id, sibling.id
        pairs = select(one.label("one"), other.label("other")).join(
            sibling, and_(sibling.scene_id == sample.scene_id, sibling.turn == sample.turn)
        )
    votes = [
        select(FeedbackRow.id)
        .where(
            FeedbackRow.kind == "vote",
            FeedbackRow.withdrawn_at.is_(None),
            FeedbackRow.generation_id == winner,
            FeedbackRow.other_id == loser,
        )
        .exists()
        for winner, loser in ((one, other), (other, one))
    ]
    # with the sum, SQLite goes through the index of turns instead of the table
    age = other > new if is_new else other + 0 <= new
    open_pairs = pairs.where(one < other, age, *(~vote for vote in votes)).cte("open_pairs")
    return open_pairs.prefix_with("MATERIALIZED")
