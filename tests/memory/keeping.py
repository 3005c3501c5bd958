"""What other processes do in the tests of backups."""

from __future__ import annotations

import asyncio
import resource
from multiprocessing.connection import Connection
from pathlib import Path

from memory.backup import back_up
from memory.store import open_store
from selves.errors import SelvesError


def back_up_on_full_disk(url: str, target: Path, results: Connection) -> None:
    """Back up where no file may get large; send what kind of error that gives, and what it says."""

    async def main() -> tuple[str, str]:
        async with open_store(url) as store:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
            try:
                await back_up(store, target)
            except SelvesError as error:
                return type(error).__name__, str(error)
        return "", "it fitted"

    results.send(asyncio.run(main()))
