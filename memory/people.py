"""People and their words: meeting a person, and opening what is sealed with a person's key.

Everybody reads lines and samples through `read_messages` and `read_generations`. What cannot be opened,
because its key is gone, comes back without words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from memory import rows, sealing, statements
from memory.models import Base, GenerationRow, HouseRow, MessageRow, PersonRow
from memory.types import Generation, Message
from selves.errors import StoreError

Item = TypeVar("Item")

AT_ONCE = 5000
"""So many ids in one statement; SQLite takes 32,766 values and PostgreSQL's driver 65,535."""


class Known(NamedTuple):
    """Somebody who was met."""

    id: int
    pseudonym: str
    key: str
    is_new: bool = False
    """Whether it was for the first time."""


def in_parts(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield items in lists that fit into one statement each."""
    everything = list(items)
    for start in range(0, len(everything), AT_ONCE):
        yield everything[start : start + AT_ONCE]


async def set_all(session: AsyncSession, model: type[Base], ids: Iterable[int], **values: Any) -> None:
    """Write the same values into all rows with these ids."""
    column: Any = model.__table__.c.id
    for part in in_parts(ids):
        await session.execute(
            update(model)
            .where(column.in_(part))
            .values(**values)
            .execution_options(synchronize_session=False)
        )


async def keys_of(session: AsyncSession, person_ids: Iterable[int]) -> dict[int, str]:
    """Return people's keys by person id; people whose key is gone are missing."""
    keys: dict[int, str] = {}
    for part in in_parts(set(person_ids)):
        found = await session.execute(statements.KEYS, {"ids": part})
        keys.update((person_id, key) for person_id, key in found)
    return keys


async def read_messages(
    session: AsyncSession, found: Sequence[MessageRow] | Sequence[Row[Any]]
) -> list[Message]:
    """Return lines with people's words opened."""
    keys = await keys_of(session, {row.person_id for row in found if row.person_id is not None})
    return [rows.to_message(row, keys) for row in found]


async def read_generations(session: AsyncSession, found: Sequence[GenerationRow]) -> list[Generation]:
    """Return samples with their prompts opened."""
    keys = await keys_of(session, {person for row in found for person in row.prompt_sealed_by or ()})
    return [rows.to_generation(row, keys) for row in found]


async def meet(
    session: AsyncSession, house: HouseRow, platform: str, user_id: int | str, now: datetime
) -> Known:
    """Return the person with this id on a platform, made if unknown, and held: a forgetting waits.

    Whoever also holds a scene meets its people first, so that no two wait for each other.
    """
    hashed = rows.user_hash(house.secret, platform, user_id)
    same = {"platform": platform, "user_hash": hashed}
    person = (await session.execute(statements.HOLD_PERSON, same)).first()
    if person is None and session.get_bind().dialect.name != "sqlite":
        # asked again: somebody else may have met this person while this one waited for the lock
        await session.execute(statements.HOLD_HOUSE)
        person = (await session.execute(statements.HOLD_PERSON, same)).first()
    if person is not None:
        return Known(person.id, person.pseudonym, await key_of(session, person.id))
    pseudonym = f"guest-{await session.scalar(statements.COUNT_GUEST)}"
    new = await session.scalar(
        statements.ADD_PERSON, {**same, "pseudonym": pseudonym, "created_at": now, "forgotten_at": None}
    )
    return Known(new, pseudonym, await _new_key(session, new), is_new=True)


async def key_of(session: AsyncSession, person_id: int) -> str:
    """Return a person's key, made if there is none (a database restored without keys)."""
    keys = await keys_of(session, [person_id])
    if person_id in keys:
        return keys[person_id]
    await session.execute(statements.HOLD_HOUSE)
    keys = await keys_of(session, [person_id])
    return keys.get(person_id) or await _new_key(session, person_id)


async def _new_key(session: AsyncSession, person_id: int) -> str:
    key = sealing.new_key()
    await session.execute(statements.ADD_KEY, {"person_id": person_id, "key": key})
    return key


async def find_person(session: AsyncSession, house: HouseRow, who: str) -> PersonRow:
    """Return the person that `who` names: `guest-3`, a name in the parlor, or `platform:id`.

    Raises StoreError if nobody is known by it.
    """
    person = await session.scalar(select(PersonRow).where(PersonRow.pseudonym == who))
    # ids may have colons of their own; a name in the parlor that looks like an id is nobody's id
    colons = [position for position, letter in enumerate(who) if letter == ":"]
    names = [*((who[:colon], who[colon + 1 :]) for colon in colons), ("parlor", who)]
    for platform, user_id in names:
        if person is not None:
            return person
        person = await person_with_id(session, house, platform, user_id)
    if person is not None:
        return person
    raise StoreError(
        f"nobody is known as {who!r}",
        "name a guest as a transcript shows them (guest-3), somebody's name in the parlor, or platform:id "
        "(discord:80351110224678912); `selves memory person list` shows everybody",
    )


async def person_with_id(
    session: AsyncSession, house: HouseRow, platform: str, user_id: int | str
) -> PersonRow | None:
    """Return the person with this id on a platform; None if nobody is known by it."""
    hashed = rows.user_hash(house.secret, platform, user_id)
    same = select(PersonRow).where(PersonRow.platform == platform, PersonRow.user_hash == hashed)
    return await session.scalar(same)
