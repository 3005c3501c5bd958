"""How long a client waits, how often it tries again, and when it leaves a failing server alone. Pure.

`now` is a monotonic clock's, in seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

ATTEMPTS = 4
"""How often a request is tried while nothing of an answer has come."""
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 30.0


class Timeouts(NamedTuple):
    """What is waited for at most, in seconds."""

    connect_s: float = 5.0
    first_s: float = 120.0
    """The first piece of an answer, or all of an answer that comes at once."""
    between_s: float = 60.0
    """Each further piece."""


def pause_s(attempt: int, asked_s: float, draw: Callable[[float, float], float]) -> float:
    """Return how long to wait after a failed `attempt`, counted from 1: exponential, with full jitter.

    `asked_s` is what the server asked for (Retry-After), which is waited at least; `draw` is random.uniform.
    Full jitter (the AWS Architecture Blog, "Exponential Backoff And Jitter", 2015) keeps the clients of a
    server that comes back from all knocking at once.
    """
    jittered = draw(0.0, min(FIRST_PAUSE_S * 2 ** (attempt - 1), LONGEST_PAUSE_S))
    return min(asked_s, LONGEST_PAUSE_S) + jittered


def read_retry_after(header: str, now: datetime) -> float:
    """Return the seconds that a Retry-After header asks for: a number or a date. 0 when it is neither."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - now).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return seconds if 0 < seconds < float("inf") else 0.0


class Breaker:
    """Counts failures in a row; after `limit` of them nothing goes through for `open_s` seconds.

    Then one request may try (half open): if it works all may go again, if not, or if it is not heard of
    within `open_s`, it stays as it was for another `open_s`. (Nygard, Release It!, 2007.)
    """

    def __init__(self, *, limit: int = 8, open_s: float = 15.0) -> None:
        self._limit = limit
        self._open_s = open_s
        self._next_try = 0.0
        self.failures = 0
        self.reason = ""
        """What the last failure said."""

    def wait_s(self, now: float) -> float:
        """Return 0 when a request may go now, and count on it; else for how long none may."""
        if self.failures < self._limit:
            return 0.0
        if now < self._next_try:
            return self._next_try - now
        self._next_try = now + self._open_s
        return 0.0

    def failed(self, now: float, reason: str) -> None:
        self.failures += 1
        self.reason = reason
        self._next_try = now + self._open_s

    def worked(self) -> None:
        self.failures = 0
