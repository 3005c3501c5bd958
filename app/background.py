"""One event loop in a thread of its own, for all sessions: Streamlit's script threads have none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")


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
