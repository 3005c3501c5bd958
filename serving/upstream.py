"""Requests passed on to another OpenAI-compatible server, and its answers given our names.

Nothing waits for ever: connecting is bounded, so is every silence, and when whoever watches the server knows
it to be down, all that wait for it are told at once. What fails before anything of an answer was sent is
`Unavailable`, and may be asked of another engine; what fails later ends in an error event.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import httpx
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from selves.errors import EngineError
from selves.lineage import Age
from serving.api import unless_gone
from serving.wire import ENGINE_HEADER, ApiError

log = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_S = 5.0
SILENCE_S = 600.0
"""How long a server may say nothing at all: a long prompt on a slow machine, or many requests before it."""
ADMIN_S = 300.0
"""How long a server may take for what is no answer, such as loading an adapter or other weights."""
ELSEWHERE = frozenset({401, 403, 404, 429})
"""Refusals that are not the client's fault, beside those from 500 on: another engine may answer."""
ANSWERS = frozenset({"text_completion", "chat.completion", "chat.completion.chunk"})


class Unavailable(EngineError):
    """An engine cannot answer, and nothing of an answer has been sent."""


class Upstream:
    """One server, spoken to over HTTP."""

    def __init__(self, url: str, *, called: str, api_key: str = "", silence_s: float = SILENCE_S) -> None:
        self._called = called
        self._silence_s = silence_s
        self._waits: set[asyncio.Timeout] = set()
        self.http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(None, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=None),
            trust_env=False,
        )

    async def close(self) -> None:
        self.interrupt()
        await self.http.aclose()

    def interrupt(self) -> None:
        """Let all that wait for this server fail now: it is known to be down."""
        now_s = asyncio.get_running_loop().time()
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(now_s)

    async def pass_on(
        self, path: str, body: dict[str, Any], age: Age, request: Request, held: AsyncExitStack
    ) -> Response:
        """Ask and return the answer, in our words: our name of the model, our mark of its weights.

        The caller closes `held`, unless the answer is a stream: then it is emptied here, and what was in it
        is closed when the stream ends. Raises Unavailable, ClientDisconnect.
        """
        if path == "/v1/chat/completions" and age.card.form == "transcript" and body.get("stop") is None:
            body = {**body, "stop": ["\n"]}  # as the embedded engine does
        asked = self.http.build_request("POST", path, json=body)
        response = await unless_gone(request, self._soon(self.http.send(asked, stream=True)))
        held.push_async_callback(response.aclose)
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            content = await unless_gone(request, self._soon(response.aread()))
            return _named(self._whole(response, content, age, request), response)
        events = self._events(response)
        held.push_async_callback(events.aclose)
        first = await unless_gone(request, anext(events, None))
        if first is None or _failed(first):
            raise Unavailable(f"{self._called} failed: {_message(first)}")
        return _named(HeldStream(self._stream(first, events, age, request), held.pop_all()), response)

    async def ask(
        self, method: str, path: str, body: object = None, *, timeout_s: float = ADMIN_S
    ) -> dict[str, Any]:
        """Ask the server itself for something; returns {} for what is no JSON object. Raises Unavailable."""
        try:
            response = await self.http.request(method, path, json=body, timeout=timeout_s)
        except httpx.HTTPError as error:
            raise Unavailable(f"{self._called} does not answer {path}") from error
        if response.is_error:
            said = response.text[:300]
            raise Unavailable(f"{self._called} answered {response.status_code} to {path}: {said}")
        try:
            answer = response.json() if response.content else {}
        except ValueError:
            return {}
        return answer if isinstance(answer, dict) else {}

    async def _soon(self, work: Awaitable[T]) -> T:
        """Await an answer, or part of one. Raises Unavailable after a long silence and when it is down."""
        try:
            async with asyncio.timeout(self._silence_s) as wait:
                self._waits.add(wait)
                try:
                    return await work
                finally:
                    self._waits.discard(wait)
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unavailable(f"{self._called} does not answer", "try again") from error

    def _whole(self, response: httpx.Response, content: bytes, age: Age, request: Request) -> Response:
        status = response.status_code
        try:
            answer = json.loads(content) if content else {}
        except ValueError as error:
            raise Unavailable(f"{self._called} answered {status} with something that is no JSON") from error
        if status >= 500 or status in ELSEWHERE:
            raise Unavailable(f"{self._called} answered {status}: {_message(answer)}")
        _rename(answer, age)
        if isinstance(answer, dict) and isinstance(answer.get("usage"), dict):
            request.state.usage = answer["usage"]
        return Response(json.dumps(answer), status, media_type="application/json")

    async def _events(self, response: httpx.Response) -> AsyncGenerator[Any]:
        """Yield what an event stream says: objects, and at last the string `[DONE]`."""
        chunks = response.aiter_bytes()
        rest = b""
        while (chunk := await self._soon(anext(chunks, None))) is not None:
            # not httpx's lines: those also break where a text has one of Unicode's own line ends
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.startswith(b"data:"):
                    yield self._read_event(line.removeprefix(b"data:").strip())

    def _read_event(self, said: bytes) -> Any:
        try:
            return "[DONE]" if said == b"[DONE]" else json.loads(said)
        except ValueError as error:
            raise Unavailable(f"{self._called} sent an event that is no JSON") from error

    async def _stream(
        self, event: Any, events: AsyncGenerator[Any], age: Age, request: Request
    ) -> AsyncGenerator[str]:
        """Yield events in our words. A stream that died half way says so in an event of its own."""
        try:
            while event is not None:
                if isinstance(event, dict):
                    _rename(event, age)
                    if isinstance(event.get("usage"), dict):
                        request.state.usage = event["usage"]
                yield _event(event)
                if event == "[DONE]" or _failed(event):
                    return
                event = await anext(events, None)
        except Unavailable as error:
            log.warning("%s: %s", age.card.address, error.problem)
        yield _event(died(self._called).body)


class HeldStream(StreamingResponse):
    """An event stream that lets go of what it needs when it is over, even when it never began."""

    def __init__(self, events: AsyncGenerator[str], held: AsyncExitStack) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            await super().__call__(scope, receive, send)


def _named(answer: Response, given: httpx.Response) -> Response:
    """Pass on which engine of another house gave an answer."""
    if ENGINE_HEADER in given.headers:
        answer.headers[ENGINE_HEADER] = given.headers[ENGINE_HEADER]
    return answer


def died(called: str) -> ApiError:
    """Return what a client is told whose answer broke off."""
    message = f"{called} died while answering; ask again"
    return ApiError(503, message, kind="server_error", code="engine_unavailable")


def _event(said: Any) -> str:
    return f"data: {said if isinstance(said, str) else json.dumps(said)}\n\n"


def _rename(answer: Any, age: Age) -> None:
    """Name in an answer the age that was asked for; engines know it by names of their own."""
    if isinstance(answer, dict) and answer.get("object") in ANSWERS:
        answer["model"] = age.card.address
        answer["system_fingerprint"] = age.card.weights_sha256[:16]


def _failed(event: Any) -> bool:
    """Tell whether an event is an error that is not the client's own."""
    if not isinstance(event, dict) or "error" not in event:
        return False
    code = event["error"].get("code") if isinstance(event["error"], dict) else None
    return not (isinstance(code, int) and 400 <= code < 500 and code not in ELSEWHERE)


def _message(answer: Any) -> str:
    """Return what an error in OpenAI's form says."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    return str(error.get("message", error) if isinstance(error, dict) else error)[:500]
