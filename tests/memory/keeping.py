"""What other processes do in the tests of backups."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import Coroutine
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from memory.backup import back_up
from memory.restore import restore
from memory.store import open_store
from selves.errors import SelvesError


def back_up_on_full_disk(url: str, target: Path, results: Connection) -> None:
    """Back up where no file may get large; send what kind of error that gives, and what it says."""

    async def main() -> None:
        async with open_store(url) as store:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
            await back_up(store, target)

    results.send(_error_of(main()))


def restore_on_full_disk(backup: Path, url: str, results: Connection) -> None:
    """Restore over what is there where no file may get large; send the error."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    results.send(_error_of(restore(backup, url, replace=True)))


def restore_until_killed(backup: Path, url: str, results: Connection) -> None:
    """Restore over what is there, and tell when half of the rows were copied; then wait for the end."""
    copied = 0

    def stop_half_way(rows: int) -> None:
        nonlocal copied
        copied += rows
        if copied > 100:
            results.send("half way")
            signal.pause()

    asyncio.run(restore(backup, url, replace=True, on_rows=stop_half_way))


def _error_of(work: Coroutine[Any, Any, object]) -> tuple[str, str]:
    try:
        asyncio.run(work)
    except SelvesError as error:
        return type(error).__name__, str(error)
    return "", "it fitted"
