"""What to vote on next: two samples of one age for the same prompt, or two ages' writings on one prompt.

What was voted on already does not come again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import aliased

from memory.candidates import FAILED
from memory.feedback import shown_order
from memory.models import FeedbackRow, GenerationRow, WritingRow
from memory.people import read_generations
from memory.types import Generation

if TYPE_CHECKING:
    from memory.store import Store


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
    one, other = GenerationRow, aliased(GenerationRow)
    same: list[ColumnElement[bool]] = [
        one.id < other.id,
        one.prompt_sha256 == other.prompt_sha256,
        one.text != other.text,
    ]
    for sample in (one, other):
        same += [sample.finish_reason.not_in(FAILED), func.trim(sample.text) != ""]
    voted = (
        select(FeedbackRow.id)
        .where(
            FeedbackRow.kind == "vote",
            FeedbackRow.withdrawn_at.is_(None),
            or_(
                and_(FeedbackRow.generation_id == one.id, FeedbackRow.other_id == other.id),
                and_(FeedbackRow.generation_id == other.id, FeedbackRow.other_id == one.id),
            ),
        )
        .exists()
    )
    query = select(one.id, other.id)
    if between_ages:
        its, others = WritingRow, aliased(WritingRow)
        query = (
            query.join(its, its.generation_id == one.id)
            .join(others, and_(others.kind == its.kind, others.address != its.address))
            .join(other, other.id == others.generation_id)
        )
    else:
        query = query.join(other, and_(other.scene_id == one.scene_id, other.turn == one.turn))
        same += [one.address == other.address, one.weights_sha256 == other.weights_sha256]
    if lineage is not None:
        same += [sample.address.startswith(f"{lineage}@", autoescape=True) for sample in (one, other)]
    query = query.where(*same, ~voted).order_by(other.id.desc(), one.id.desc()).limit(limit)
    async with store.reading() as session:
        pairs = (await session.execute(query)).all()
        ids = {row_id for pair in pairs for row_id in pair}
        found = await session.scalars(select(GenerationRow).where(GenerationRow.id.in_(ids)))
        samples = {sample.id: sample for sample in await read_generations(session, found.all())}
    occasion = f"{store.house.house_id} {store.clock().isoformat()}"
    return [
        Ballot(*(samples[row_id] for row_id in shown_order(first, second, occasion)))
        for first, second in pairs
    ]
