"""One event loop in a thread of its own, for all sessions: Streamlit's script threads have none."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")

UNWATCHED_S = 5.0
"""After so long without anybody looking, work that streams to a page is ended.

Streamlit ends a script in the same way whether somebody clicked or closed the tab: only what comes after
tells one from the other."""


class Background:
    """A running event loop. It ends with the process."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="parlor", daemon=True).start()

    def start(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Begin something; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do something to its end and return or raise what it does."""
        return self.start(work).result()


class Watch:
    """When somebody last looked at what is being made; a page looks whenever it draws."""

    def __init__(self) -> None:
        self._at = time.monotonic()

    def look(self) -> None:
        """Note that somebody looks now."""
        self._at = time.monotonic()

    async def over(self, work: Coroutine[Any, Any, None], limit_s: float = UNWATCHED_S) -> None:
        """Do something for as long as somebody looks; then it is cancelled, and may end in its own time."""
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                await asyncio.wait([task], timeout=limit_s / 4)
                if time.monotonic() - self._at > limit_s:
                    task.cancel()
                    await asyncio.wait([task])
        finally:
            task.cancel()
            await asyncio.wait([task])
