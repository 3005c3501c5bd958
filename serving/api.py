"""One OpenAI-compatible address in front of whichever engine runs.

GET  /v1/models, /v1/models/ADDRESS     what can be spoken to, with a `selves` object about each age
POST /v1/completions                    continue a text
POST /v1/chat/completions               answer a chat
POST /tokenize                          count tokens, in vLLM's shape
GET  /health, /metrics                  for whoever watches; these need no key
"""

from __future__ import annotations

import asyncio
import hmac
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

from pydantic_core import from_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from selves.errors import SelvesError
from selves.lineage import Age
from serving.catalog import Catalog
from serving.wire import ApiError

T = TypeVar("T")

MAX_BODY_BYTES = 4 * 1024 * 1024
POST_PATHS = ("/v1/completions", "/v1/chat/completions", "/tokenize")


class Backend(Protocol):
    """An engine behind the address."""

    name: str
    version: str
    trouble: str
    """Why it cannot answer now; empty when it can."""

    async def start(self) -> None: ...
    async def close(self) -> None: ...
    def measures(self) -> Mapping[str, float]: ...
    async def answer(self, path: str, age: Age, body: dict[str, Any], request: Request) -> Response:
        """Answer one POST for an age that exists. Raises ApiError, SelvesError, ClientDisconnect."""
        ...


def make_app(
    catalog: Catalog,
    backend: Backend,
    *,
    house: str,
    api_key: str = "",
    when_ready: Callable[[], None] | None = None,
) -> Starlette:
    """Return the application; it starts and closes the backend with its own life."""
    answered: Counter[tuple[str, int]] = Counter()

    def count(request: Request, response: Response) -> Response:
        answered[request.url.path if request.url.path in POST_PATHS else "other", response.status_code] += 1
        return response

    def check_key(request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if api_key and not hmac.compare_digest(given.encode(), api_key.encode()):
            raise ApiError(
                401,
                "this address needs an API key: send `Authorization: Bearer $SELVES_API_KEY`",
                kind="authentication_error",
                code="invalid_api_key",
            )

    def describe(age: Age) -> dict[str, Any]:
        card = age.card
        return {
            "id": card.address,
            "object": "model",
            "created": int(card.created_at.timestamp()),
            "owned_by": "selves",
            "max_model_len": card.context_tokens,
            "selves": {
                "form": card.form,
                "context_tokens": card.context_tokens,
                "weights_sha256": card.weights_sha256,
                "engine": backend.name,
                "engine_version": backend.version,
                "parent": card.parent,
                "origin": card.origin,
                "parameters": card.parameters,
                "tokens_seen": card.tokens_seen,
                "bits_per_byte": card.bits_per_byte,
            },
        }

    def check_engine() -> None:
        if backend.trouble:
            raise ApiError(503, backend.trouble, kind="server_error", code="engine_unavailable")

    async def models(request: Request) -> Response:
        check_key(request)
        check_engine()
        return JSONResponse({"object": "list", "data": [describe(age) for age in catalog.ages().values()]})

    async def model(request: Request) -> Response:
        check_key(request)
        check_engine()
        return JSONResponse(describe(catalog.find(request.path_params["address"])))

    async def post(request: Request) -> Response:
        check_key(request)
        body = await _read_json(request)
        address = body.get("model")
        if not isinstance(address, str):
            raise ApiError(400, "model: give the address of an age, such as ember@base-000400", param="model")
        age = catalog.find(address)
        check_engine()
        return count(request, await backend.answer(request.url.path, age, body, request))

    async def health(_: Request) -> Response:
        status = {"status": backend.trouble or "ok", "selves": house, "engine": backend.name}
        return JSONResponse(status, 503 if backend.trouble else 200)

    async def metrics(_: Request) -> Response:
        lines = [f"{name} {value:g}" for name, value in backend.measures().items()]
        lines += [
            f'selves_responses_total{{path="{path}",status="{status}"}} {n}'
            for (path, status), n in sorted(answered.items())
        ]
        return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")

    def refuse(request: Request, error: Exception) -> Response:
        refusal = _as_api_error(error)
        headers = {"Retry-After": "2"} if refusal.status == 503 else None
        return count(request, JSONResponse(refusal.body, refusal.status, headers))

    def gone(request: Request, _: Exception) -> Response:
        return count(request, Response(status_code=499))  # nobody reads it; the number is nginx's

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncGenerator[None]:
        await backend.start()
        try:
            if when_ready is not None:
                when_ready()
            yield
        finally:
            await backend.close()

    return Starlette(
        routes=[
            Route("/v1/models", models),
            Route("/v1/models/{address}", model),
            *(Route(path, post, methods=["POST"]) for path in POST_PATHS),
            Route("/health", health),
            Route("/metrics", metrics),
        ],
        exception_handlers={
            ApiError: refuse,
            SelvesError: refuse,
            HTTPException: refuse,
            ClientDisconnect: gone,
            Exception: refuse,
        },
        lifespan=life,
    )


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """Await `work`, but cancel it when the client hangs up. Raises ClientDisconnect then."""

    async def hang_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, watcher = asyncio.ensure_future(work), asyncio.create_task(hang_up())
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        task.cancel()
        watcher.cancel()
        await asyncio.gather(task, watcher, return_exceptions=True)


async def _read_json(request: Request) -> dict[str, Any]:
    """Read a body that must be a JSON object. Raises ApiError."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise ApiError(413, f"the request is larger than {MAX_BODY_BYTES} bytes")
        chunks.append(chunk)
    try:
        body = from_json(b"".join(chunks), allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"the body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise ApiError(400, "the body must be a JSON object")
    return body


def _as_api_error(error: Exception) -> ApiError:
    match error:
        case ApiError():
            return error
        case SelvesError():
            return ApiError.from_house(error)
        case HTTPException():
            return ApiError(
                error.status_code, error.detail, code="not_found" if error.status_code == 404 else None
            )
        case _:
            return ApiError(500, "this is a defect in Selves; the server's log has it", kind="server_error")
