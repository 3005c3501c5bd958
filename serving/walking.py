"""Taking turns with one set of weights: who wants the same age shares it, others wait until it is free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from selves.errors import SelvesError

T = TypeVar("T")


class Turns(Generic[T]):
    """Who may use what is loaded. First come, first served, so that no age is kept waiting for ever."""

    def __init__(self, change: Callable[[T], Awaitable[None]], key: Callable[[T], Hashable]) -> None:
        """`change` loads another; it is called when nobody uses the old one."""
        self._change = change
        self._key = key
        self._line = asyncio.Lock()
        self._free = asyncio.Event()
        self._free.set()
        self._users = 0
        self._loaded: Hashable = None
        self._loading: asyncio.Task[SelvesError | None] | None = None
        self.changes = 0

    def reset(self, loaded: T | None) -> None:
        """Say what is loaded now; None: it is not known."""
        self._loaded = None if loaded is None else self._key(loaded)

    def holds(self, wanted: T) -> bool:
        """Tell whether this is what is loaded now."""
        return self._loaded == self._key(wanted)

    @asynccontextmanager
    async def hold(self, wanted: T) -> AsyncGenerator[None]:
        """Keep `wanted` loaded during the block. Raises the SelvesError that `change` raises."""
        async with self._line:
            if self._loading is not None:
                await asyncio.wait({self._loading})  # whoever wanted that may have left meanwhile
            if not self.holds(wanted):
                await self._free.wait()
                self._loading = asyncio.create_task(self._load(wanted))
                failed = await asyncio.shield(self._loading)
                if failed is not None:
                    raise failed
            self._users += 1
            self._free.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._free.set()

    async def _load(self, wanted: T) -> SelvesError | None:
        self._loaded = None
        try:
            await self._change(wanted)
        except SelvesError as error:
            return error
        self._loaded = self._key(wanted)
        self.changes += 1
        return None
