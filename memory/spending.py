"""Spending: how many tokens were drawn on a day, counted for each scope that a budget may be set for.

A scope is any text: `all`, `self:Ember`, `place:discord:123`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from memory import statements
from memory.models import SpendingRow

if TYPE_CHECKING:
    from memory.store import Store


async def count(session: AsyncSession, day: date, scopes: Iterable[str], tokens: int) -> None:
    """Add tokens to what was spent on a day in these scopes, within a transaction that has more to keep."""
    # in one order everywhere: nobody waits for whoever waits for them
    more = [{"day": day.isoformat(), "scope": scope, "tokens": tokens} for scope in sorted(set(scopes))]
    await session.execute(statements.ADD_SPENDING[session.get_bind().dialect.name], more)


async def spent(store: Store, day: date, scopes: Iterable[str]) -> Mapping[str, int]:
    """Return how many tokens were spent on a day in each of these scopes; 0 where none were."""
    wanted = set(scopes)
    query = select(SpendingRow.scope, SpendingRow.tokens).where(
        SpendingRow.day == day.isoformat(), SpendingRow.scope.in_(wanted)
    )
    async with store.reading(brief=True) as session:
        found = {row.scope: row.tokens for row in await session.execute(query)}
    return {scope: found.get(scope, 0) for scope in wanted}
