"""One age on vLLM, behind our address: the process is started, watched, restarted and stopped here.

vLLM needs other versions of torch and transformers than we do, so it lives in an environment of its own
(`serving/vllm_environment.sh` builds one) and is spoken to over HTTP. In front of it stands the same API as
in front of the embedded engine: same address, same names, and /v1/models tells which engine answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import socket
import sys
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from selves.errors import EngineError
from selves.lineage import Age, find_age
from selves.settings import House
from serving import leash
from serving.api import unless_gone
from serving.wire import ApiError

log = logging.getLogger(__name__)

DEFAULT_PROGRAM = ".vllm/bin/vllm"
HEALTH_POLL_S = 0.5
STDERR = 2
"""vLLM's log goes where ours goes."""
LONGEST_BACKOFF_S = 30.0
GPU_DEVICES = ("/dev/nvidia0", "/dev/kfd")
EMBEDDED_ONLY = {
    "selves_nanochat": "a nanochat of 2026, whose value embeddings and smear vLLM does not have",
    "lfm2": "an LFM2, whose short convolutions vLLM was seen to compute differently",
}
"""Model types that vLLM does not know or does not get right, and what they are."""


def find_program(setting: str, environment: Mapping[str, str]) -> Path:
    """Return the `vllm` program: SELVES_VLLM, else the setting, else .vllm/bin/vllm. Raises EngineError."""
    named = environment.get("SELVES_VLLM") or setting or DEFAULT_PROGRAM
    found = shutil.which(named)
    if found is None:
        raise EngineError(
            f"there is no vLLM at {named}",
            "build one with `make vllm`, or name yours in [serving] vllm or SELVES_VLLM",
        )
    return Path(found).absolute()


def refuse_unknown(age: Age) -> None:
    """Raise EngineError for an age that vLLM cannot load, before anything is started."""
    try:
        model_type = json.loads((age.folder / "config.json").read_text("utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise EngineError(f"{age.folder / 'config.json'} cannot be read: {error}", "restore it") from error
    if model_type in EMBEDDED_ONLY:
        raise EngineError(
            f"vLLM cannot serve {age.card.address}: it is {EMBEDDED_ONLY[model_type]}",
            "serve it with the embedded engine: `selves serve`",
        )


def make_command(program: Path, age: Age, port: int, *, gpu: bool) -> list[str]:
    """Return the command line that serves one age. Pure."""
    command = [str(program), "serve", str(age.folder), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--served-model-name", age.card.address, "--max-model-len", str(age.card.context_tokens)]
    # defaults of temperature and the like are the API's, as with the embedded engine
    command += ["--generation-config", "vllm", "--disable-uvicorn-access-log"]
    if not gpu:
        # without the first, float32 weights are rounded to bfloat16; the second saves a minute of compiling
        command += ["--dtype", "float32", "--enforce-eager"]
    return command


def make_environment(environment: Mapping[str, str], *, gpu: bool) -> dict[str, str]:
    """Return vLLM's environment: ours without our Python, offline, on a CPU with a bounded cache. Pure."""
    ours = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "SELVES_API_KEY", "VLLM_API_KEY"}
    theirs = {key: value for key, value in environment.items() if key not in ours}
    defaults = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    if not gpu:
        defaults["VLLM_CPU_KVCACHE_SPACE"] = "1"  # GiB; otherwise it claims a share of all memory
    return {**defaults, **theirs}


class VllmBackend:
    """A `vllm serve` process behind the address.

    Raises EngineError when there is no such program, or when it cannot serve this age.
    """

    name = "vllm"

    def __init__(self, house: House, *, program: str, address: str) -> None:
        self._age = find_age(house.checkpoints, address)
        refuse_unknown(self._age)
        self._program = find_program(program, os.environ)
        self._gpu = any(Path(device).exists() for device in GPU_DEVICES)
        self.version = ""
        self.trouble = "vLLM is starting"
        self._restarts = 0
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(None, connect=5.0),
            limits=httpx.Limits(max_connections=None),
            trust_env=False,
        )
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        await self._client.aclose()

    def measures(self) -> Mapping[str, float]:
        return {"selves_engine_up": not self.trouble, "selves_engine_restarts_total": self._restarts}

    async def answer(self, path: str, age: Age, body: dict[str, Any], request: Request) -> Response:
        """Pass one request on. Raises ApiError (503) when vLLM dies before it answers."""
        if path == "/v1/chat/completions" and age.card.form == "transcript" and body.get("stop") is None:
            body = {**body, "stop": ["\n"]}  # as the embedded engine does
        asked = self._client.build_request("POST", path, json=body)
        try:
            response = await unless_gone(request, self._client.send(asked, stream=True))
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                return StreamingResponse(_pass_on(response), media_type="text/event-stream")
            try:
                content = await unless_gone(request, response.aread())
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            raise _died() from error
        return Response(content, response.status_code, media_type=response.headers.get("content-type"))

    async def _watch(self) -> None:
        """Keep a process running: start it, wait until it is healthy, start it again when it has died."""
        backoff_s = 1.0
        while True:
            async with self._process() as process:
                died = asyncio.create_task(process.wait())
                if await self._wait_until_healthy(died):
                    log.info("vLLM %s answers for %s", self.version, self._age.card.address)
                    self.trouble, backoff_s = "", 1.0
                    await died
            self._restarts += 1
            self.trouble = f"vLLM ended with exit code {died.result()} and is started again"
            log.error("%s in %.0f s; its last lines above say why", self.trouble, backoff_s)
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)

    @contextlib.asynccontextmanager
    async def _process(self) -> AsyncGenerator[asyncio.subprocess.Process]:
        """Run vLLM on a leash, its log in ours; ended when the block ends."""
        port = _free_port()
        self._client.base_url = httpx.URL(f"http://127.0.0.1:{port}")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            leash.__file__,
            *make_command(self._program, self._age, port, gpu=self._gpu),
            env=make_environment(os.environ, gpu=self._gpu),
            stdin=asyncio.subprocess.PIPE,
            stdout=STDERR,
            stderr=STDERR,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()

    async def _wait_until_healthy(self, died: asyncio.Task[int]) -> bool:
        """Return True when vLLM answers, False when it has died before."""
        while not died.done():
            with contextlib.suppress(httpx.TransportError, ValueError, KeyError):
                if (await self._client.get("/health")).status_code == httpx.codes.OK:
                    self.version = str((await self._client.get("/version")).json()["version"])
                    return True
            await asyncio.wait({died}, timeout=HEALTH_POLL_S)
        return False


async def _pass_on(response: httpx.Response) -> AsyncGenerator[bytes]:
    """Yield an event stream as it comes; if vLLM dies, say so in an event of its own."""
    try:
        async for chunk in response.aiter_bytes():
            yield chunk
    except httpx.TransportError:
        yield f"\n\ndata: {json.dumps(_died().body)}\n\n".encode()
    finally:
        await response.aclose()


def _died() -> ApiError:
    return ApiError(
        503,
        "vLLM died while answering; it is being started again",
        kind="server_error",
        code="engine_unavailable",
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
