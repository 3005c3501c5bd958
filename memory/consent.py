"""What people allowed, and what platforms allowed: two ledgers in which nothing is ever changed.

The newest line about a purpose counts; without one nothing is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, cast

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from memory import rows, statements
from memory.models import ConsentRow, GenerationRow, HeardInRow, MessageRow, PermissionRow, PersonRow
from memory.people import in_parts
from selves.errors import StoreError

if TYPE_CHECKING:
    from memory.store import Store

Purpose = Literal["context", "store", "diary", "publish", "train"]
PURPOSES: tuple[Purpose, ...] = ("context", "store", "diary", "publish", "train")
"""To be read by a self; to be kept longer than 30 days; to be written about in a diary; to be shown to the
public; to be trained on."""

Consents = dict[Purpose, bool]
"""What was said last of each purpose; what was never spoken of is missing, and not allowed."""


async def consents_of(session: AsyncSession, person_ids: Iterable[int]) -> dict[int, Consents]:
    """Return what people last said, by person id. What they said who were forgotten counts no more."""
    said: dict[int, Consents] = {person_id: {} for person_id in person_ids}
    newest = select(func.max(ConsentRow.id)).group_by(ConsentRow.person_id, ConsentRow.purpose)
    newest = newest.join(PersonRow, PersonRow.id == ConsentRow.person_id)
    newest = newest.where(PersonRow.forgotten_at.is_(None))
    for part in in_parts(said):
        query = select(ConsentRow).where(ConsentRow.id.in_(newest.where(ConsentRow.person_id.in_(part))))
        for row in await session.scalars(query):
            said[row.person_id][cast(Purpose, row.purpose)] = row.granted
    return said


async def wants_stored(session: AsyncSession, person_id: int) -> bool | None:
    """Return what a person last said of keeping their words; None if nothing."""
    about = {"person_id": person_id, "purpose": "store"}
    return cast("bool | None", await session.scalar(statements.NEWEST_CONSENT, about))


async def permissions(session: AsyncSession) -> dict[str, Consents]:
    """Return what platforms last said, by platform."""
    said: dict[str, Consents] = {}
    newest = select(func.max(PermissionRow.id)).group_by(PermissionRow.platform, PermissionRow.purpose)
    for row in await session.scalars(select(PermissionRow).where(PermissionRow.id.in_(newest))):
        said.setdefault(row.platform, {})[cast(Purpose, row.purpose)] = row.granted
    return said


async def allow(
    store: Store, person_id: int, purpose: Purpose, *, granted: bool, notice: str, via: str
) -> None:
    """Note that a person allowed a purpose, or took that back.

    `notice` is the version of the privacy notice that the person saw, `via` where it was said. Words that
    may be stored do not end; when that is taken back they end 30 days after they were said. Exports that
    rest on what is taken back are called back.
    """
    from memory.spoilt import call_back_consent  # which asks the firewall, which asks for consent

    async with store.writing() as session:
        # held, so that nothing is heard of this person meanwhile
        person = await session.get_one(PersonRow, person_id, with_for_update=True)
        if person.forgotten_at is not None:
            raise StoreError(f"{person.pseudonym} was forgotten, and nobody can be asked any more")
        now, before = store.clock(), await consents_of(session, [person_id])
        session.add(
            ConsentRow(
                person_id=person_id,
                purpose=purpose,
                granted=granted,
                notice=notice,
                via=via,
                at=now,
            )
        )
        if purpose == "store":
            await _set_end(session, person_id, granted)
        if not granted and before[person_id].get(purpose):
            await call_back_consent(session, person_id, purpose, now)


async def permit(store: Store, platform: str, purpose: Purpose, *, granted: bool, statement: str) -> None:
    """Note that a platform allowed a purpose, or took that back; `statement` says where and how."""
    async with store.writing() as session:
        session.add(
            PermissionRow(
                platform=platform, purpose=purpose, granted=granted, statement=statement, at=store.clock()
            )
        )


@dataclass(frozen=True, slots=True)
class Given:
    """One line of a person's ledger."""

    purpose: str
    granted: bool
    notice: str
    via: str
    at: datetime
    counts: bool
    """Whether it is the newest about its purpose."""


@dataclass(frozen=True, slots=True)
class Permission:
    """One line of the platforms' ledger."""

    platform: str
    purpose: str
    granted: bool
    statement: str
    at: datetime
    counts: bool
    """Whether it is the newest about its platform and purpose."""


async def ledger_of(store: Store, person_id: int) -> list[Given]:
    """Return all that a person said of purposes, oldest first."""
    query = select(ConsentRow).where(ConsentRow.person_id == person_id).order_by(ConsentRow.id)
    async with store.reading() as session:
        lines = (await session.scalars(query)).all()
    newest = {line.purpose: line.id for line in lines}
    return [
        Given(line.purpose, line.granted, line.notice, line.via, line.at, newest[line.purpose] == line.id)
        for line in lines
    ]


async def platform_ledger(store: Store, platform: str | None = None) -> list[Permission]:
    """Return all that a platform said of purposes, or that all did, oldest first."""
    query = select(PermissionRow).order_by(PermissionRow.id)
    if platform is not None:
        query = query.where(PermissionRow.platform == platform)
    async with store.reading() as session:
        lines = (await session.scalars(query)).all()
    newest = {(line.platform, line.purpose): line.id for line in lines}
    return [
        Permission(
            line.platform,
            line.purpose,
            line.granted,
            line.statement,
            line.at,
            newest[line.platform, line.purpose] == line.id,
        )
        for line in lines
    ]


async def _set_end(session: AsyncSession, person_id: int, granted: bool) -> None:
    theirs = MessageRow.person_id == person_id
    if granted:
        await session.execute(update(MessageRow).where(theirs).values(expires_at=None))
    else:
        said = await session.execute(
            select(MessageRow.id, MessageRow.origin, MessageRow.created_at).where(
                theirs, MessageRow.status == "posted"
            )
        )
        ends = [
            {"id": message_id, "expires_at": _end(origin, created_at)}
            for message_id, origin, created_at in said
        ]
        if ends:
            await session.execute(update(MessageRow), ends)
    first_end = (
        select(func.min(MessageRow.expires_at))
        .join(HeardInRow, HeardInRow.message_id == MessageRow.id)
        .where(HeardInRow.generation_id == GenerationRow.id)
        .scalar_subquery()
    )
    heard = select(HeardInRow.generation_id).join(MessageRow, MessageRow.id == HeardInRow.message_id)
    await session.execute(
        update(GenerationRow)
        .where(GenerationRow.id.in_(heard.where(theirs)), GenerationRow.prompt.is_not(None))
        .values(prompt_expires_at=first_end)
        .execution_options(synchronize_session=False)
    )


def _end(origin: str, created_at: datetime) -> datetime | None:
    return rows.words_end(origin, created_at, False)
