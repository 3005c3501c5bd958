"""An engine of a fleet that runs elsewhere: a vLLM, or another house's address. Watched, not started."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from selves.lineage import Age
from serving.upstream import SILENCE_S, Unavailable, Upstream

log = logging.getLogger(__name__)

WATCH_S = 5.0
"""How often it is asked how it is and what it serves."""
HEALTH_S = 10.0
"""How long it may take to say so."""
MISSED = 2
"""After so many bad answers in a row it counts as down."""


class RemoteMember:
    """A server at a URL, for those of our ages that it lists by their addresses."""

    def __init__(
        self,
        name: str,
        url: str,
        *,
        api_key: str = "",
        watch_s: float = WATCH_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        self.name = name
        self.kind = "vllm"
        self.version = ""
        self.trouble = f"{url} was not asked yet"
        self._called = url
        self._watch_s = watch_s
        self._upstream = Upstream(url, called=url, api_key=api_key, silence_s=silence_s)
        self._listed: dict[str, Mapping[str, Any]] = {}
        """Model -> what it says of itself in `selves`, which other servers do not have."""
        self._missed = MISSED
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._look()
        self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        await self._upstream.close()

    def measures(self) -> Mapping[str, float]:
        return {f'selves_engine_up{{engine="{self.name}"}}': float(not self.trouble)}

    def serves(self, age: Age) -> bool:
        """Tell whether it lists this age; not if it says that its weights are others."""
        listed = self._listed.get(age.card.address)
        return listed is not None and listed.get("weights_sha256") in (None, age.card.weights_sha256)

    async def answer(self, path: str, age: Age, body: dict[str, Any], request: Request) -> Response:
        """Answer one POST. Raises Unavailable, ClientDisconnect."""
        if not self._listed.get(age.card.address):
            # a vLLM that was started without priorities refuses them, and they change no answer
            body = {key: value for key, value in body.items() if key != "priority"}
        async with AsyncExitStack() as held:
            return await self._upstream.pass_on(path, body, age, request, held)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._watch_s)
            await self._look()

    async def _look(self) -> None:
        before = self.trouble
        try:
            await self._upstream.ask("GET", "/health", timeout_s=HEALTH_S)
            self._listed = _read_models(await self._upstream.ask("GET", "/v1/models", timeout_s=HEALTH_S))
            if not self.version:
                self.kind, self.version = await self._read_engine()
            self.trouble, self._missed = "", 0
        except Unavailable as error:
            self._missed += 1
            if self._missed >= MISSED:
                self.trouble = error.problem
                self._upstream.interrupt()
        if self.trouble != before:
            log.info("%s", self.trouble or f"{self._called} lists {', '.join(sorted(self._listed))}")

    async def _read_engine(self) -> tuple[str, str]:
        """Return name and version of the engine there: of another house, what that says it has."""
        for said in self._listed.values():
            if "engine" in said:
                return str(said["engine"]), str(said.get("engine_version", ""))
        try:
            answer = await self._upstream.ask("GET", "/version", timeout_s=HEALTH_S)
        except Unavailable:  # it speaks the OpenAI API and is no vLLM
            return "remote", ""
        return "vllm", str(answer.get("version", ""))


def _read_models(answer: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return model -> its `selves` object, {} where it has none. Raises Unavailable for another shape."""
    try:
        return {str(model["id"]): dict(model.get("selves") or {}) for model in answer["data"]}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unavailable("/v1/models did not answer with a list of models") from error
