"""How often Discord refused this house, and the switch that silences everybody before it has had enough.

Discord shuts out a whole internet address after 10,000 refused requests (401, 403, 429) within ten minutes,
and all bots of a house share one. So every answer to any of them is counted here, with what the other
processes count, and from half of that on nothing is sent until the oldest have passed.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace

import aiohttp

log = logging.getLogger("selves.bots")

REFUSALS = (401, 403, 429)
LIMIT = 5000
WINDOW_S = 600.0


class TooManyRefusals(aiohttp.ClientError):
    """Raised instead of sending a request."""


class Breaker:
    """Counts refusals of the last ten minutes. `elsewhere` is what the other processes count."""

    def __init__(
        self, limit: int = LIMIT, window_s: float = WINDOW_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.elsewhere = 0
        self._limit, self._window_s, self._clock = limit, window_s, clock
        self._moments: deque[float] = deque()
        self._told = False

    @property
    def refusals(self) -> int:
        """How many refusals this process had within the window."""
        while self._moments and self._moments[0] <= self._clock() - self._window_s:
            self._moments.popleft()
        return len(self._moments)

    @property
    def is_open(self) -> bool:
        """Whether nothing may be sent now."""
        return self.refusals + self.elsewhere >= self._limit

    def saw(self, status: int, scope: str = "") -> None:
        """Count one answer. A limit that many bots share (scope `shared`) is nobody's fault."""
        if status in REFUSALS and scope != "shared":
            self._moments.append(self._clock())

    def check(self) -> None:
        """Raise TooManyRefusals when nothing may be sent now."""
        if not self.is_open:
            self._told = False
            return
        why = f"Discord refused {self.refusals + self.elsewhere} requests within ten minutes"
        if not self._told:
            self._told = True
            log.error(
                "%s: everybody is silent until there are fewer, since Discord shuts out whoever goes on. "
                "`selves bots check` says what is refused.",
                why,
            )
        raise TooManyRefusals(why)

    def trace(self) -> aiohttp.TraceConfig:
        """Return what lets a client of aiohttp, and so of discord.py, ask and tell this breaker."""
        trace = aiohttp.TraceConfig()

        async def starting(_s: object, _c: SimpleNamespace, _p: aiohttp.TraceRequestStartParams) -> None:
            self.check()

        async def ended(_s: object, _c: SimpleNamespace, params: aiohttp.TraceRequestEndParams) -> None:
            answer = params.response
            self.saw(answer.status, answer.headers.get("X-RateLimit-Scope", ""))

        trace.on_request_start.append(starting)
        trace.on_request_end.append(ended)
        return trace
