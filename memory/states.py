"""States: small things that outlive a process, such as who sleeps and what a channel is set to.

Keys are paths with colons: `self:Ember:asleep`, `place:discord:123`. Values are JSON. Nothing that tells of a
person belongs here, because forgetting does not look here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import delete, select

from memory import statements
from memory.models import StateRow
from memory.store import Store


class State(NamedTuple):
    """What was put, and when."""

    value: Any
    at: datetime


async def get(store: Store, key: str, default: Any = None) -> Any:
    """Return what was put under this key last, or `default`."""
    return (await get_all(store, [key])).get(key, default)


async def find(store: Store, prefix: str) -> Mapping[str, State]:
    """Return all states whose keys begin so, by key."""
    query = select(StateRow).where(StateRow.key.startswith(prefix, autoescape=True))
    async with store.reading(brief=True) as session:
        return {
            row.key: State(row.value, row.at) for row in await session.scalars(query.order_by(StateRow.key))
        }


async def get_all(store: Store, keys: Collection[str], prefix: str = "") -> Mapping[str, Any]:
    """Return what was put under these keys, and under all that begin with `prefix` if one is given."""
    wanted: dict[str, Any] = {"ids": list(keys)}
    if prefix:
        wanted |= {"prefix": prefix, "length": len(prefix)}
    async with store.glancing() as session:
        found = await session.execute(statements.STATES_AND_ALL if prefix else statements.STATES, wanted)
        return {row.key: row.value for row in found}


async def put(store: Store, key: str, value: Any) -> None:
    """Keep a value under a key, in place of what was there; None takes the key away."""
    async with store.writing(brief=True) as session:
        if value is None:
            await session.execute(delete(StateRow).where(StateRow.key == key))
            return
        new = {"value": value, "at": store.clock()}
        await session.execute(
            store.insert(StateRow)
            .values(key=key, **new)
            .on_conflict_do_update(index_elements=["key"], set_=new)
        )
