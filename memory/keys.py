"""What a backup leaves out: the key of each person's words, and the secret that people's ids are hidden by.

Kept in a file of its own, which each backup writes anew. So what was forgotten since stays shut in older
backups, and who was forgotten is known when one of them is restored.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from memory.models import HouseRow, PersonKeyRow, PersonRow
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


class Keys(Frozen):
    """All keys of a house, as the keys file has them."""

    house_id: str
    secret: str
    people: tuple[PersonKey, ...]


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
    return Keys(house_id=house.house_id, secret=house.secret, people=people)


def write_keys(path: Path, keys: Keys) -> None:
    """Write the keys file, readable by its owner alone. Raises DiskError, StoreError."""
    if path.exists():
        read_keys(path)  # never over something else
    with private_file(path) as partial:
        partial.write_text(keys.model_dump_json(indent=1) + "\n", "utf-8")


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
