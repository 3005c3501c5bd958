"""The wire under `Voice`: one server, asked again while that may help, and left alone while it does not."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit

import httpx

from selves.errors import EngineError
from serving.heard import Refusal, read_events, read_refusal
from serving.patience import ATTEMPTS, Breaker, Timeouts, pause_s

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")

Failure = httpx.TransportError | Refusal
"""What asking again may help with."""


class Caller:
    """HTTP to one server. `address` says whose engine a request is for, "" nobody's in particular."""

    def __init__(self, base_url: str, api_key: str, timeouts: Timeouts) -> None:
        self.base_url = base_url
        self._timeouts = timeouts
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(timeouts.first_s, connect=timeouts.connect_s),
            limits=httpx.Limits(max_connections=None),
            trust_env=urlsplit(base_url).hostname not in LOCAL_HOSTS,
        )
        self._breakers: defaultdict[str, Breaker] = defaultdict(Breaker)
        """Of the server (""), and of each address: one engine may be down where others answer."""

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(self, method: str, path: str, body: object = None, address: str = "") -> dict[str, Any]:
        """Make one plain request, retried while the server is unreachable or says that it may pass."""
        for attempt in range(1, ATTEMPTS + 1):
            self.check(address)
            try:
                response = await self._client.request(method, path, json=body)
                if response.status_code != httpx.codes.OK:
                    raise read_refusal(response, self.base_url)
                answer = response.json()
            except (httpx.TransportError, Refusal) as error:
                await self.wait_to_try_again(address, attempt, error)
            except ValueError as error:
                raise self.not_ours() from error
            else:
                self.worked(address)
                if isinstance(answer, dict):
                    return answer
                raise self.not_ours()
        raise AssertionError("the last attempt returns or raises")

    async def wait_to_try_again(self, address: str, attempt: int, error: Failure) -> None:
        """Wait until it makes sense to try again. Raises EngineError when it does not."""
        failure = self.failed(address, error)
        may_pass = error.may_pass if isinstance(error, Refusal) else not isinstance(error, httpx.ReadTimeout)
        if not may_pass or attempt == ATTEMPTS:
            raise failure from error
        asked_s = error.retry_after_s if isinstance(error, Refusal) else 0.0
        await asyncio.sleep(pause_s(attempt, asked_s, random.uniform))

    def check(self, address: str) -> None:
        """Raise EngineError while the server, or what answers for this address, is left alone."""
        for whom in {"", address}:
            breaker = self._breakers[whom]
            wait_s = breaker.wait_s(time.monotonic())
            if wait_s:
                raise EngineError(
                    f"the engine at {self.base_url} has failed {breaker.failures} times"
                    f"{f' for {whom}' if whom else ''}: {breaker.reason}",
                    f"it is tried again in {wait_s:.0f} s",
                )

    def worked(self, address: str) -> None:
        for whom in {"", address}:
            self._breakers[whom].worked()

    def failed(self, address: str, error: Failure) -> EngineError:
        """Remember a failure, and return it in words."""
        if isinstance(error, Refusal):
            self._breakers[""].worked()  # it was there to refuse
            if error.may_pass:
                self._breakers[address].failed(time.monotonic(), error.problem)
            return error
        reason = str(error) or type(error).__name__
        self._breakers[""].failed(time.monotonic(), reason)
        return EngineError(
            f"nobody answers at {self.base_url} ({reason})",
            "start the engine with `selves serve`, or set SELVES_URL to where it runs",
        )

    def not_ours(self) -> EngineError:
        return EngineError(
            f"what answers at {self.base_url} does not speak the OpenAI API as Selves needs it",
            "set SELVES_URL to an address of `selves serve` or vLLM, or [serving] port to a free one",
        )

    async def listen(
        self, path: str, body: object, address: str, meet: Callable[[httpx.Headers], None]
    ) -> AsyncGenerator[dict[str, Any]]:
        """Yield the events of one attempt; `meet` is given its headers before.

        Raises Refusal, httpx.TransportError; EngineError as `check`.
        """
        self.check(address)
        patience_s = self._timeouts.first_s
        async with self._client.stream("POST", path, json=body) as response:
            if response.status_code != httpx.codes.OK:
                await response.aread()
                raise read_refusal(response, self.base_url)
            meet(response.headers)
            async with aclosing(read_events(response)) as events:
                while (event := await self._within(patience_s, events)) is not None:
                    self.worked(address)
                    yield event
                    patience_s = self._timeouts.between_s

    async def _within(
        self, patience_s: float, events: AsyncGenerator[dict[str, Any]]
    ) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(patience_s):
                return await anext(events, None)
        except TimeoutError as error:
            raise httpx.ReadTimeout(f"nothing came for {patience_s:g} s") from error
