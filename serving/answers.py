"""OpenAI requests answered by the embedded engine: bodies in, jobs through the engine, their shapes out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from selves.errors import SelvesError
from selves.lineage import Age
from serving.api import unless_gone
from serving.asks import Ask, Piece
from serving.engine import Engine, Job
from serving.shapes import ChatShape, CompletionShape, Shape
from serving.wire import ApiError, TokenizeAsked, read_body

Draws = AsyncGenerator[tuple[int, Piece]]


class EmbeddedBackend:
    """The embedded engine behind the address."""

    name = Engine.name

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.version = engine.version
        self.trouble = ""
        """Why it cannot answer now; empty when it can."""

    async def start(self) -> None:
        self._engine.start()

    async def close(self) -> None:
        await asyncio.to_thread(self._engine.close)

    def measures(self) -> Mapping[str, float]:
        return self._engine.measures()

    async def answer(self, path: str, age: Age, body: dict[str, Any], request: Request) -> Response:
        """Answer one POST. Raises ApiError, SelvesError, ClientDisconnect."""
        if path == "/tokenize":
            return await self._tokenize(age, body)
        shape: Shape = ChatShape(age, body) if path == "/v1/chat/completions" else CompletionShape(age, body)
        ids = await self._engine.encode(age, shape.prompt, shape.template)
        draws = _draw_all(self._engine, age, ids, shape.asks(ids))
        if not shape.asked.stream:
            return await unless_gone(request, _whole(shape, draws))
        try:
            first = await unless_gone(request, anext(draws))
        except BaseException:
            await draws.aclose()
            raise
        return StreamingResponse(
            _events(shape, first, draws),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache"},
        )

    async def _tokenize(self, age: Age, body: dict[str, Any]) -> Response:
        asked: TokenizeAsked = read_body(TokenizeAsked, body)
        if (asked.prompt is None) == (asked.messages is None):
            raise ApiError(400, "give either prompt or messages", param="prompt")
        prompt = (
            asked.prompt if asked.messages is None else [message.for_template() for message in asked.messages]
        )
        assert prompt is not None
        ids = await self._engine.encode(age, prompt, asked.chat_template_kwargs or {})
        return JSONResponse({"count": len(ids), "max_model_len": age.card.context_tokens, "tokens": ids})


async def _draw_all(engine: Engine, age: Age, ids: list[int], asks: Sequence[Ask]) -> Draws:
    """Draw from all asks at once; yields (which, piece) until each has finished. Closing it cancels them."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[int, Piece | SelvesError]] = asyncio.Queue()

    def deliver_to(which: int) -> Callable[[Piece | SelvesError], None]:
        def deliver(piece: Piece | SelvesError) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(queue.put_nowait, (which, piece))

        return deliver

    jobs = [Job(age, ids, ask, deliver_to(which)) for which, ask in enumerate(asks)]
    try:
        for job in jobs:
            engine.submit(job)
        unfinished = len(jobs)
        while unfinished:
            which, piece = await queue.get()
            if isinstance(piece, SelvesError):
                raise piece
            yield which, piece
            unfinished -= piece.finish is not None
    finally:
        for job in jobs:
            job.cancel()


async def _whole(shape: Shape, draws: Draws) -> Response:
    """Gather everything into one answer."""
    pieces: dict[int, list[Piece]] = {}
    async with aclosing(draws):
        async for which, piece in draws:
            pieces.setdefault(which, []).append(piece)
    drawn = sum(map(len, pieces.values()))
    return JSONResponse(
        {
            **shape.envelope(),
            "choices": [shape.choice(which, pieces[which]) for which in sorted(pieces)],
            "usage": shape.usage(drawn),
        }
    )


async def _events(shape: Shape, first: tuple[int, Piece], draws: Draws) -> AsyncGenerator[str]:
    """Yield server-sent events as pieces come. An error half way is an event, then the stream ends."""
    options = shape.asked.stream_options
    drawn = 0

    def event(choices: list[dict[str, Any]], **more: Any) -> str:
        body = {**shape.envelope(chunk=True), "choices": choices, **more}
        return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"

    async with aclosing(draws):
        try:
            for opening in shape.openings():
                yield event([opening])
            held: dict[int, list[Piece]] = {}
            item: tuple[int, Piece] | None = first
            while item is not None:
                which, piece = item
                drawn += 1
                held.setdefault(which, []).append(piece)
                if piece.text or piece.finish:
                    yield event([shape.chunk(which, held.pop(which))])
                item = await anext(draws, None)
        except SelvesError as error:
            yield f"data: {json.dumps(ApiError.from_house(error).body)}\n\n"
            return
        if options is not None and options.include_usage:
            yield event([], usage=shape.usage(drawn))
        yield "data: [DONE]\n\n"
