"""The cast as it is now: its file and its tokens, looked at again and again while the selves are on Discord.

An age that was made meanwhile joins as soon as the cast file names it; nobody has to restart anything.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bots.setup import env_path, known_tokens
from selves.cast import Cast, load_cast
from selves.errors import SelvesError
from selves.marks import marked
from selves.settings import House

log = logging.getLogger("selves.bots")

LOOK_S = 2.0
"""How often the files are looked at. Telling that they are the same takes microseconds."""


class Company(NamedTuple):
    """Who is in the cast, and the tokens that there are, by variable."""

    cast: Cast
    tokens: Mapping[str, str]


def read_cast(house: House) -> Cast:
    """Read the cast file, with the marks of the ages themselves. Raises ConfigError, AgeError."""
    return marked(load_cast(house.cast_path), house.checkpoints)


def read_company(house: House) -> Company:
    """Read the cast file and the tokens. Raises ConfigError, AgeError."""
    cast = read_cast(house)
    return Company(cast, known_tokens(cast, house, os.environ))


@dataclass
class Reader:
    """Reads the company anew whenever a file of it has changed."""

    house: House
    company: Company
    """As it was read last."""
    look_s: float = LOOK_S

    def __post_init__(self) -> None:
        self._seen = self._look()
        self._now = asyncio.Event()

    def look_now(self) -> None:
        """Read anew, whether a file has changed or not."""
        self._now.set()

    async def follow(self, take: Callable[[Company], Awaitable[None]]) -> None:
        """Give every new company to `take`, for ever. One that cannot be read is left out, and said so."""
        while True:
            try:
                async with asyncio.timeout(self.look_s):
                    await self._now.wait()
            except TimeoutError:
                if self._look() == self._seen:
                    continue
            self._now.clear()
            self._seen = self._look()
            try:
                company = await asyncio.to_thread(read_company, self.house)
                if company != self.company:
                    await take(company)
                    self.company = company
            except (SelvesError, OSError) as error:
                log.error("the cast stays as it was: %s", error)

    def _look(self) -> tuple[object, ...]:
        return tuple(_looks(path) for path in (self.house.cast_path, env_path(self.house)))


def _looks(path: Path) -> tuple[int, ...]:
    """Return what of a file changes when it is written; nothing if there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns
