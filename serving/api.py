"""One OpenAI-compatible address in front of whichever engine runs.

GET  /v1/models, /v1/models/ADDRESS     what can be spoken to, with a `selves` object about each age
POST /v1/completions                    continue a text
POST /v1/chat/completions               answer a chat
POST /tokenize, /detokenize             texts to token ids and back, in vLLM's shape
GET  /health, /metrics, /openapi.json   for whoever watches or asks how; these need no key

Browsers of other origins are not let in: there is no CORS.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar, runtime_checkable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from selves.errors import AgeError, SelvesError
from selves.lineage import Age
from serving.catalog import Catalog
from serving.incoming import is_known, read_json, read_keys
from serving.metrics import CONTENT_TYPE, Meters
from serving.openapi import make_document
from serving.wire import ENGINE_HEADER, ApiError

log = logging.getLogger(__name__)

T = TypeVar("T")

BODY_S = 30.0
"""How long a client may take to send its request's body."""
POST_PATHS = ("/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize")


class Backend(Protocol):
    """An engine behind the address."""

    name: str
    version: str

    @property
    def trouble(self) -> str:
        """Why it cannot answer now; empty when it can."""
        ...

    async def start(self) -> None: ...
    async def close(self) -> None: ...
    def measures(self) -> Mapping[str, float]: ...
    async def answer(self, path: str, age: Age, body: dict[str, Any], request: Request) -> Response:
        """Answer one POST for an age that exists. Raises ApiError, SelvesError, ClientDisconnect.

        What it spends it may leave in `request.state.usage`, in OpenAI's form, for /metrics. What it says of
        an error on a stream goes through `request.state.unplaced`, which takes out where ages lie.
        """
        ...


@runtime_checkable
class Several(Protocol):
    """What a backend with more than one engine can say beside that."""

    def health(self) -> Mapping[str, str]:
        """Return engine -> its trouble, empty when it can answer."""
        ...

    def engine_of(self, age: Age) -> tuple[str, str]:
        """Return name and version of the engine that answers for an age."""
        ...


def name_engine(response: Response, name: str, version: str) -> None:
    """Say in an answer's header which engine gave it, unless that is said already."""
    response.headers.setdefault(ENGINE_HEADER, f"{name} {version}".strip())


def make_app(
    catalog: Catalog,
    backend: Backend,
    *,
    house: str,
    api_key: str = "",
    when_ready: Callable[[], None] | None = None,
    body_s: float = BODY_S,
) -> Starlette:
    """Return the application; it starts and closes the backend with its own life.

    `api_key` may be several, with commas between. Raises ConfigError when it is set and holds none.
    """
    keys = read_keys(api_key)
    meters = Meters(backend.measures)

    def count(request: Request, response: Response) -> Response:
        path = request.url.path
        meters.answered(path if path in POST_PATHS else "other", response.status_code)
        return response

    def check_key(request: Request) -> None:
        if keys and not is_known(keys, request.headers.get("authorization", "")):
            raise ApiError(
                401,
                "this address needs an API key: send `Authorization: Bearer $SELVES_API_KEY`",
                kind="authentication_error",
                code="invalid_api_key",
            )

    def describe(age: Age) -> dict[str, Any]:
        card = age.card
        engine, version = (
            backend.engine_of(age) if isinstance(backend, Several) else (backend.name, backend.version)
        )
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
                "engine": engine,
                "engine_version": version,
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
        began_s = time.monotonic()
        check_key(request)
        body = await read_json(request, body_s)
        address = body.get("model")
        if not isinstance(address, str):
            raise ApiError(400, "model: give the address of an age, such as ember@base-000400", param="model")
        age = catalog.find(address)
        check_engine()
        path = request.url.path
        request.state.unplaced = catalog.unplaced
        response = await backend.answer(path, age, body, request)
        name_engine(response, backend.name, backend.version)
        return meters.watch(request, response, path, address, began_s)

    async def health(_: Request) -> Response:
        engines = backend.health() if isinstance(backend, Several) else {backend.name: backend.trouble}
        status = {
            "status": catalog.unplaced(backend.trouble) or "ok",
            "selves": house,
            "engine": backend.name,
            "engines": {name: catalog.unplaced(trouble) or "ok" for name, trouble in engines.items()},
        }
        return JSONResponse(status, 503 if backend.trouble else 200)

    async def metrics(_: Request) -> Response:
        return Response(meters.expose(), media_type=CONTENT_TYPE)

    async def document(_: Request) -> Response:
        return JSONResponse(make_document())

    def refuse(request: Request, error: Exception) -> Response:
        if isinstance(error, AgeError):
            log.error("%s", error.problem)
        refusal = _as_api_error(error)
        said = refusal.body["error"]
        body = {"error": {**said, "message": catalog.unplaced(said["message"] or "")}}
        headers = {**refusal.headers, **(getattr(error, "headers", None) or {})}
        return count(request, JSONResponse(body, refusal.status, headers))

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
            Route("/openapi.json", document),
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
