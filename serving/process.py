"""A server process that is kept running: started on a leash, watched, started again when it has died."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack

import httpx

from selves.errors import EngineError, SelvesError
from serving import leash
from serving.machine import free_port, is_free

log = logging.getLogger(__name__)

POLL_S = 0.5
"""How often a process that is starting is asked whether it is ready."""
WATCH_S = 5.0
"""The same for one that runs."""
HEALTH_S = 20.0
"""How long it may take to say so."""
MISSED = 3
"""After so many bad answers in a row a process that runs is ended and started again."""
HOLD_S = 900.0
"""How long a start holds back those of other engines."""
START_S = 3600.0
"""How long it may take in all; large models are read for long."""
LONGEST_BACKOFF_S = 30.0
STDERR = 2
"""Its log goes where ours goes."""

Launch = Callable[[int], Awaitable[tuple[Sequence[str], Mapping[str, str]]]]
"""Port -> command line and environment."""


class Watched:
    """One process that answers GET /health when it is well. `keep` runs it until that is cancelled."""

    def __init__(
        self,
        called: str,
        http: httpx.AsyncClient,
        launch: Launch,
        *,
        when_ready: Callable[[], Awaitable[None]],
        when_down: Callable[[], None],
        one_at_a_time: asyncio.Lock,
    ) -> None:
        """`http` has the port as its base URL, and is given another if that port is taken by then.

        `one_at_a_time` is held during a start: engines that share a device must not measure it together. One
        that hangs holds others back for HOLD_S.
        """
        self._called = called
        self._http = http
        self._launch = launch
        self._when_ready = when_ready
        self._when_down = when_down
        self._one_at_a_time = one_at_a_time
        self.trouble = f"{called} is starting"
        self.restarts = 0

    async def keep(self) -> None:
        """Start it, watch it, start it again after growing pauses. Never returns."""
        backoff_s = 1.0
        while True:
            try:
                why = await self._live()
            except (SelvesError, OSError, httpx.HTTPError) as error:
                why = f"cannot be started: {error.problem if isinstance(error, SelvesError) else error}"
            if not self.trouble:
                backoff_s = 1.0
            self.trouble = f"{self._called} {why}; it is started again"
            self._when_down()
            self.restarts += 1
            log.error("%s %s; it is started again in %.0f s", self._called, why, backoff_s)
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)

    async def _live(self) -> str:
        """Run it once; returns why it is no more. Raises SelvesError when it cannot even be started."""
        async with AsyncExitStack() as life:
            async with self._one_at_a_time:
                url = self._http.base_url
                port = url.port if url.port and is_free(url.port) else free_port()
                self._http.base_url = url.copy_with(port=port)
                process = await life.enter_async_context(_on_leash(*await self._launch(port)))
                died = asyncio.create_task(process.wait())
                began = asyncio.get_running_loop().time()
                why = await self._starting(died, began + HOLD_S)
            if why is None:
                log.warning("%s has not started in %.0f s; others start beside it", self._called, HOLD_S)
                why = await self._starting(died, began + START_S)
            if why is None:
                why = f"was not ready after {START_S:.0f} s"
            if why:
                return why
            await self._when_ready()
            log.info("%s answers", self._called)
            self.trouble = ""
            return await self._running(died)

    async def _starting(self, died: asyncio.Task[int], until_s: float) -> str | None:
        """Return "" when it answers, or why it will not; None if that is open at this moment of the loop."""
        try:
            async with asyncio.timeout_at(until_s):
                while not died.done():
                    if await self._is_well():
                        return ""
                    await asyncio.wait({died}, timeout=POLL_S)
        except TimeoutError:
            return None
        return f"ended with exit code {died.result()} before it was ready; its last lines above say why"

    async def _running(self, died: asyncio.Task[int]) -> str:
        """Return when it has died or does not answer any more, and say so."""
        missed = 0
        while missed < MISSED:
            await asyncio.wait({died}, timeout=WATCH_S)
            if died.done():
                return f"ended with exit code {died.result()}"
            missed = 0 if await self._is_well() else missed + 1
        return f"gave no good answer to /health {MISSED} times"

    async def _is_well(self) -> bool:
        try:
            return (await self._http.get("/health", timeout=HEALTH_S)).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False


@contextlib.asynccontextmanager
async def _on_leash(
    command: Sequence[str], environment: Mapping[str, str]
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run a command that ends when the block does, and when we are killed."""
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            leash.__file__,
            *command,
            env=dict(environment),
            stdin=asyncio.subprocess.PIPE,
            stdout=STDERR,
            stderr=STDERR,
        )
    except OSError as error:
        raise EngineError(f"{command[0]} cannot be started: {error.strerror}") from error
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
