"""What became of a line that was kept to be posted, by whichever process."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import delete, select, update

from memory import states
from memory.models import MessageRow, StateRow
from memory.store import Store
from memory.types import Message

UNDELIVERED = "undelivered:"
"""Begins the keys of states that say why a line was given up."""
KEPT = timedelta(days=7)
"""How long it is said why; that the line was never posted is kept with the line."""
NOTES = StateRow.key.startswith(UNDELIVERED, autoescape=True)


class Undelivered(NamedTuple):
    """A line that its platform refused for good."""

    message_id: int
    place: str
    speaker: str
    why: str
    at: datetime
    """When it was given up."""


class Outcome(NamedTuple):
    """What became of a line."""

    platform_id: int | None
    refused: str
    """Why it was given up; empty if it was not."""


async def outcome_of(store: Store, nonce: str) -> Outcome | None:
    """Return what became of the message with this nonce; None as long as it is to be posted."""
    query = select(MessageRow.id, MessageRow.platform_id, MessageRow.status).where(
        MessageRow.nonce == nonce, MessageRow.status != "pending"
    )
    async with store.reading(brief=True) as session:
        found = (await session.execute(query)).first()
    if found is None:
        return None
    why = await states.get(store, f"{UNDELIVERED}{found.id}") if found.status == "undelivered" else None
    return Outcome(found.platform_id, why["why"] if why else "")


async def give_up(store: Store, message: Message, why: str) -> None:
    """Note that a line is never posted, and why; of one that is not pending any more nothing changes."""
    note = {"place": message.place, "speaker": message.speaker, "why": why}
    async with store.writing(brief=True) as session:
        pending = MessageRow.id == message.id, MessageRow.status == "pending"
        given_up = update(MessageRow).where(*pending).values(status="undelivered").returning(MessageRow.id)
        if await session.scalar(given_up) is not None:
            session.add(StateRow(key=f"{UNDELIVERED}{message.id}", value=note, at=store.clock()))


async def undelivered(store: Store) -> list[Undelivered]:
    """Return the lines that were given up in the last seven days, the newest first."""
    query = select(StateRow).where(NOTES, StateRow.at > store.clock() - KEPT).order_by(StateRow.at.desc())
    async with store.reading(brief=True) as session:
        return [
            Undelivered(int(row.key.removeprefix(UNDELIVERED)), at=row.at, **row.value)
            for row in await session.scalars(query)
        ]


async def drop_old_notes(store: Store) -> None:
    """Forget why older lines were given up."""
    async with store.writing(brief=True) as session:
        await session.execute(delete(StateRow).where(NOTES, StateRow.at <= store.clock() - KEPT))
