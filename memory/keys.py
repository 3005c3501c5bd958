"""What a backup leaves out: the key of each person's words, and the secret that people's ids are hidden by.

Kept in a file of its own, which each backup writes anew. So what was forgotten since stays shut in older
backups; and as the file also says whose and which words were erased, they are erased again when an older
backup is restored.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from memory.models import GenerationRow, HouseRow, MessageRow, PersonKeyRow, PersonRow
from memory.whole import private_file
from selves.errors import StoreError
from selves.speech import Frozen


class PersonKey(Frozen):
    """One person's key."""

    id: int
    created_at: datetime
    """When the house met the person: with the id it tells people apart whom different futures gave one id."""
    key: str | None
    """None: the person was forgotten."""


class Erased(Frozen):
    """Rows whose words are gone: the id and the moment of each, and of a message what became of it.

    The moment tells rows apart to which different futures gave one id.
    """

    messages: tuple[tuple[int, datetime, str], ...] = ()
    samples: tuple[tuple[int, datetime], ...] = ()
    prompts: tuple[tuple[int, datetime], ...] = ()


class Keys(Frozen):
    """All keys of a house, and what it erased, as the keys file has them."""

    house_id: str
    secret: str
    people: tuple[PersonKey, ...]
    erased: Erased = Erased()


async def keys_of_house(session: AsyncSession) -> Keys:
    """Return all keys of an open database."""
    house = await session.get_one(HouseRow, 1)
    found = await session.execute(
        select(PersonRow.id, PersonRow.created_at, PersonRow.forgotten_at, PersonKeyRow.key)
        .join(PersonKeyRow, PersonKeyRow.person_id == PersonRow.id, isouter=True)
        .order_by(PersonRow.id)
    )
    people = tuple(
        PersonKey(id=row.id, created_at=row.created_at, key=None if row.forgotten_at else row.key)
        for row in found
        # somebody whose key was lost was not forgotten
        if row.key is not None or row.forgotten_at is not None
    )
    return Keys(house_id=house.house_id, secret=house.secret, people=people, erased=await _erased(session))


async def _erased(session: AsyncSession) -> Erased:
    messages = await session.execute(
        select(MessageRow.id, MessageRow.created_at, MessageRow.status)
        .where(MessageRow.text == "")
        .order_by(MessageRow.id)
    )
    sample = select(GenerationRow.id, GenerationRow.started_at).order_by(GenerationRow.id)
    return Erased(
        messages=tuple(map(tuple, messages)),
        samples=tuple(map(tuple, await session.execute(sample.where(GenerationRow.text == "")))),
        prompts=tuple(map(tuple, await session.execute(sample.where(GenerationRow.prompt.is_(None))))),
    )


def write_keys(path: Path, keys: Keys) -> None:
    """Write the keys file, readable by its owner alone. Raises DiskError, StoreError."""
    if path.exists():
        read_keys(path)  # never over something else
    with private_file(path) as partial:
        partial.write_text(keys.model_dump_json() + "\n", "utf-8")


def read_keys(path: Path) -> Keys:
    """Read a keys file. Raises StoreError if it is none."""
    try:
        return Keys.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StoreError(
            f"the keys in {path} cannot be read: {error.strerror or error}", "name the file with --keys"
        ) from error
    except ValidationError as error:
        raise StoreError(
            f"{path} holds no keys of a house",
            "name another file; `selves memory backup --keys FILE` writes one",
        ) from error
