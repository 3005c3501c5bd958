"""Leases: among several processes on one database, one alone may do something, for a while.

Who dies gives nothing back, but its leases end by themselves. Clocks of several machines must agree to within
a fraction of the seconds that leases are held for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import delete, or_, select, update

from memory.models import LeaseRow
from memory.store import Store


class Lease(NamedTuple):
    """Something that somebody alone may do."""

    name: str
    holder: str
    until: datetime


async def acquire(store: Store, name: str, holder: str, seconds: float) -> bool:
    """Take a lease that is free, ended, or one's own; return whether `holder` has it now."""
    now = store.clock()
    values = {"name": name, "holder": holder, "until": now + timedelta(seconds=seconds)}
    taken = (
        store.insert(LeaseRow)
        .values(**values)
        .on_conflict_do_update(
            index_elements=["name"],
            set_={"holder": values["holder"], "until": values["until"]},
            where=or_(LeaseRow.until <= now, LeaseRow.holder == holder),
        )
        .returning(LeaseRow.name)
    )
    async with store.writing() as session:
        return await session.scalar(taken) is not None


async def renew(store: Store, name: str, holder: str, seconds: float) -> bool:
    """Hold a lease for so much longer; False when it is somebody else's by now, or was given back."""
    held = (
        update(LeaseRow)
        .where(LeaseRow.name == name, LeaseRow.holder == holder)
        .values(until=store.clock() + timedelta(seconds=seconds))
        .returning(LeaseRow.name)
    )
    async with store.writing() as session:
        return await session.scalar(held) is not None


async def release(store: Store, name: str, holder: str) -> None:
    """Give a lease back; one that is somebody else's is left alone."""
    async with store.writing() as session:
        await session.execute(delete(LeaseRow).where(LeaseRow.name == name, LeaseRow.holder == holder))


async def held(store: Store, prefix: str = "") -> Sequence[Lease]:
    """Return the leases that hold now and whose names begin so, by name."""
    query = (
        select(LeaseRow.name, LeaseRow.holder, LeaseRow.until)
        .where(LeaseRow.until > store.clock(), LeaseRow.name.startswith(prefix, autoescape=True))
        .order_by(LeaseRow.name)
    )
    async with store.reading() as session:
        return [Lease(*row) for row in await session.execute(query)]


async def renew_all(store: Store, holder: str, seconds: float) -> frozenset[str]:
    """Hold all leases of a holder for so much longer; return the names of those that it still has."""
    until = store.clock() + timedelta(seconds=seconds)
    query = update(LeaseRow).where(LeaseRow.holder == holder).values(until=until).returning(LeaseRow.name)
    async with store.writing() as session:
        return frozenset(await session.scalars(query))
