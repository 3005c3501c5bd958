"""The serving address: the running server, or one that is started for as long as it is needed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import IO, Any

import httpx

from selves.cast import Cast, Serving
from selves.errors import EngineError
from selves.settings import House
from serving.catalog import house_id

START_S = 120.0
"""How long a server may take from its start until it answers."""
STOP_S = 15.0
HEALTH_S = 30.0
"""How long a server may take to say how it is: it may have much to do."""
TAIL_BYTES = 3000


@asynccontextmanager
async def serving_address(
    house: House, cast: Cast | None, *, on_wait: Callable[[str], None] | None = None
) -> AsyncGenerator[str]:
    """Yield the base URL of a server for this house's ages.

    That is SELVES_URL if it is set; or else what already answers at the cast's host and port, if it serves
    this house's ages; or else a new server on a free port, which ends with this block, and with this process
    even when it is killed. A new server runs the embedded engine, whatever the cast says: vLLM takes minutes
    to start, which `selves serve` does. `on_wait` is told what is being waited for. Raises EngineError.
    """
    if house.serving_url_setting:
        url = house.serving_url_setting.rstrip("/").removesuffix("/v1")
        if await _health(url) is None:
            raise EngineError(
                f"nobody answers at SELVES_URL, {url}",
                "start the engine there, or unset SELVES_URL to have one started for you",
            )
        yield url
        return
    serving = cast.serving if cast else Serving()
    url = f"http://{serving.host}:{serving.port}"
    if await _serves(url, house):
        yield url
        return
    if on_wait is not None:
        on_wait("starting the embedded engine")
    with tempfile.TemporaryFile() as log:
        process = await _start(house, log)
        try:
            yield await _wait_until_ready(process, log)
        finally:
            await _stop(process)


async def _health(url: str) -> dict[str, Any] | None:
    """Return what /health says at `url`; None when nobody answers with JSON, empty when it is not ours."""
    try:
        async with httpx.AsyncClient(timeout=HEALTH_S, trust_env=False) as client:
            response = await client.get(f"{url}/health")
            answer = response.json() if response.content else {}
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
    return answer if isinstance(answer, dict) else {}


async def _serves(url: str, house: House) -> bool:
    answer = await _health(url)
    return answer is not None and answer.get("selves") == house_id(house.checkpoints)


async def _start(house: House, log: IO[bytes]) -> asyncio.subprocess.Process:
    environment = {**os.environ, "SELVES_HOME": str(house.home), "SELVES_CAST": str(house.cast_path)}
    command = [sys.executable, "-m", "selves", "serve", "--json", "--while-parent-lives", "--port", "0"]
    return await asyncio.create_subprocess_exec(
        *command,
        "--engine",
        "embedded",
        "--host",
        "127.0.0.1",
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
        # Ctrl-C in a terminal goes to the whole group; the child has to outlive it by our last requests
        start_new_session=True,
    )


async def _wait_until_ready(process: asyncio.subprocess.Process, log: IO[bytes]) -> str:
    assert process.stdout is not None
    try:
        # not `asyncio.wait_for`, which in Python 3.11 misses a cancellation that comes with the line
        async with asyncio.timeout(START_S):
            line = await process.stdout.readline()
        url = str(json.loads(line)["url"])
    except (TimeoutError, ValueError, KeyError) as error:
        raise EngineError(f"the engine did not start; the end of its log:\n{_tail(log)}") from error
    while await _health(url) is None:
        if process.returncode is not None:
            raise EngineError(f"the engine died while starting; the end of its log:\n{_tail(log)}")
        await asyncio.sleep(0.05)
    return url


def _tail(log: IO[bytes]) -> str:
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - TAIL_BYTES))
    return log.read().decode("utf-8", "replace").strip() or "(it said nothing)"


async def _stop(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
