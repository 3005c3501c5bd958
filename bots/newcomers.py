"""Ages that come into the house while the selves are on Discord: registered, so that letters reach them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from memory.store import Store
from selves.errors import SelvesError
from selves.lineage import list_ages

log = logging.getLogger("selves.bots")


class Newcomers:
    """Looks into the folder of ages. `look` may be called again and again; it registers each age once."""

    def __init__(self, store: Store, checkpoints: Path, on_come: Callable[[], None] = lambda: None) -> None:
        self._store, self._checkpoints, self._on_come = store, checkpoints, on_come
        self._known: set[tuple[str, str]] = set()

    async def look(self) -> list[str]:
        """Register what has come, and return the addresses that were new to the database.

        What cannot be read is logged and looked at again the next time.
        """
        came = []
        try:
            for age in await asyncio.to_thread(list_ages, self._checkpoints):
                weights = (age.card.address, age.card.weights_sha256)
                if weights not in self._known:
                    if await self._store.register_age(age):
                        came.append(age.card.address)
                    self._known.add(weights)
        except (SelvesError, OSError) as error:
            log.error("the ages in %s could not be registered: %s", self._checkpoints, error)
        return came

    async def announce(self) -> None:
        """Register what has come, and say so, in the log and to `on_come`."""
        came = await self.look()
        for address in came:
            log.info("a new age: %s", address)
        if came:
            self._on_come()
