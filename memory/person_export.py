"""Everything that is kept of one person, for that person to read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from memory.consent import PURPOSES, consents_of
from memory.models import (
    ConsentRow,
    FeedbackRow,
    GenerationRow,
    HeardInRow,
    MessageRow,
    PersonRow,
)
from memory.people import find_person, in_parts, read_messages
from memory.spoilt import exports_holding, exports_retelling
from memory.types import Message

if TYPE_CHECKING:
    from memory.store import Store


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a person."""

    person: str
    platform: str
    created_at: datetime
    forgotten_at: datetime | None
    allowed: dict[str, bool]
    """Purpose -> whether the person allows it now."""
    consents: tuple[dict[str, Any], ...]
    """All that they said of that, oldest first."""
    messages: tuple[Message, ...]
    """What they said, oldest first."""
    read_by: tuple[dict[str, Any], ...]
    """Which ages read which of their messages, and in which sample."""
    feedback: tuple[dict[str, Any], ...]
    """What they thought of samples."""
    exports: tuple[int, ...]
    """Files that show lines of theirs, or prompts that held them, by id."""


@dataclass(frozen=True, slots=True)
class PersonSummary:
    """One line about somebody."""

    person: str
    platform: str
    messages: int
    allowed: tuple[str, ...]
    created_at: datetime
    forgotten_at: datetime | None


async def everything_of(store: Store, who: str) -> Kept:
    """Return all that is kept of the person that `who` names. Raises StoreError if nobody is known by it."""
    async with store.reading() as session:
        person = await find_person(session, store.house, who)
        said = (await consents_of(session, [person.id]))[person.id]
        consents = await session.scalars(
            select(ConsentRow).where(ConsentRow.person_id == person.id).order_by(ConsentRow.id)
        )
        lines = await session.scalars(
            select(MessageRow).where(MessageRow.person_id == person.id).order_by(MessageRow.id)
        )
        messages = await read_messages(session, list(lines))
        read_by: list[dict[str, Any]] = []
        exports: set[int] = set()
        for part in in_parts(message.id for message in messages):
            heard = await session.execute(
                select(HeardInRow.message_id, HeardInRow.generation_id, GenerationRow.address)
                .join(GenerationRow, GenerationRow.id == HeardInRow.generation_id)
                .where(HeardInRow.message_id.in_(part))
                .order_by(HeardInRow.message_id, HeardInRow.generation_id)
            )
            read_by += [{"message": m, "generation": g, "address": address} for m, g, address in heard]
            exports |= await exports_holding(session, part)
        exports |= await exports_retelling(session, {read["generation"] for read in read_by})
        feedback = await session.scalars(
            select(FeedbackRow).where(FeedbackRow.person_id == person.id).order_by(FeedbackRow.id)
        )
        return Kept(
            person=person.pseudonym,
            platform=person.platform,
            created_at=person.created_at,
            forgotten_at=person.forgotten_at,
            allowed={purpose: said.get(purpose, False) for purpose in PURPOSES},
            consents=tuple(
                {"purpose": c.purpose, "granted": c.granted, "notice": c.notice, "via": c.via, "at": c.at}
                for c in consents
            ),
            messages=tuple(messages),
            read_by=tuple(read_by),
            feedback=tuple(
                {
                    "kind": f.kind,
                    "generation": f.generation_id,
                    "other": f.other_id,
                    "value": f.value,
                    "via": f.via,
                    "at": f.at,
                    "withdrawn_at": f.withdrawn_at,
                }
                for f in feedback
            ),
            exports=tuple(sorted(exports)),
        )


async def everybody(store: Store) -> list[PersonSummary]:
    """Return one line about every person, oldest first."""
    async with store.reading() as session:
        found = await session.execute(
            select(MessageRow.person_id, func.count())
            .where(MessageRow.person_id.is_not(None), MessageRow.text != "")
            .group_by(MessageRow.person_id)
        )
        counts = {row[0]: row[1] for row in found}
        people = list(await session.scalars(select(PersonRow).order_by(PersonRow.id)))
        said = await consents_of(session, [person.id for person in people])
        return [
            PersonSummary(
                person=person.pseudonym,
                platform=person.platform,
                messages=counts.get(person.id, 0),
                allowed=tuple(purpose for purpose in PURPOSES if said[person.id].get(purpose)),
                created_at=person.created_at,
                forgotten_at=person.forgotten_at,
            )
            for person in people
        ]
