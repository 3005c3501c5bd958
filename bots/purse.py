"""What selves may still draw today: budgets in tokens, counted in the database for all processes together."""

from __future__ import annotations

from datetime import UTC, date

from memory.spending import spent
from memory.store import Store
from selves.cast import Budget

ALL = "all"


class Purse:
    """The budgets as they hold at one place. Days are those of UTC."""

    def __init__(self, store: Store, budget: Budget, place: str) -> None:
        self._store, self._budget, self._place = store, budget, f"place:{place}"

    async def empty(self, name: str) -> bool:
        """Whether a self may draw nothing more today; the turn that crosses a limit is still taken."""
        caps = {
            ALL: self._budget.all_per_day,
            self._place: self._budget.channel_per_day,
            f"self:{name}": self._budget.self_per_day,
        }
        limited = {scope: cap for scope, cap in caps.items() if cap}
        if not limited:
            return False
        used = await spent(self._store, self._today(), limited)
        return any(used[scope] >= cap for scope, cap in limited.items())

    def scopes(self, name: str) -> list[str]:
        """Return where the tokens that a self draws are counted."""
        return [ALL, self._place, f"self:{name}"]

    def _today(self) -> date:
        return self._store.clock().astimezone(UTC).date()
