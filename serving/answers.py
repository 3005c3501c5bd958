"""OpenAI requests answered by the embedded engine: bodies in, jobs through the engine, their shapes out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from selves.errors import SelvesError, UsageError
from selves.lineage import Age
from serving.apart import EngineApart
from serving.api import unless_gone
from serving.asks import Ask, Piece, PromptScores
from serving.engine import Engine, Job
from serving.logprobs import Given
from serving.reading import read_body
from serving.shapes import ChatShape, CompletionShape, Said, Shape
from serving.wire import ApiError, Asked, DetokenizeAsked, TokenizeAsked

Drawn = Piece | PromptScores
Draws = AsyncGenerator[list[tuple[int, Drawn]]]


class _Outbox:
    """What the engine delivers, brought to the event loop once for each of its rounds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: list[Callable[[], None]] = []

    def put(self, act: Callable[[], None]) -> None:
        self._items.append(act)

    def send(self) -> None:
        if self._items and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        items, self._items = self._items, []
        for act in items:
            act()


class EmbeddedBackend:
    """The embedded engine behind the address."""

    name = Engine.name

    def __init__(self, engine: Engine | EngineApart) -> None:
        self._engine = engine
        self.version = engine.version

    @property
    def trouble(self) -> str:
        """Why it cannot answer now; empty when it can."""
        return self._engine.trouble

    async def start(self) -> None:
        self._outbox = _Outbox(asyncio.get_running_loop())
        self._engine.after_round = self._outbox.send
        self._engine.start()

    async def close(self) -> None:
        await asyncio.to_thread(self._engine.close)

    def measures(self) -> Mapping[str, float]:
        return self._engine.measures()

    async def answer(self, path: str, age: Age, body: dict[str, Any], request: Request) -> Response:
        """Answer one POST. Raises ApiError, SelvesError, ClientDisconnect."""
        match path:
            case "/tokenize":
                return await self._tokenize(age, body)
            case "/detokenize":
                asked: DetokenizeAsked = read_body(DetokenizeAsked, body)
                return JSONResponse({"prompt": await self._engine.decode(age, asked.tokens)})
            case "/v1/chat/completions":
                return await self._say(age, ChatShape(age, body), request)
            case _:
                return await self._say(age, CompletionShape(age, body), request)

    async def _say(self, age: Age, shape: Shape, request: Request) -> Response:
        await self._check_ids(age, shape.asked)
        choices = [
            await self._engine.encode(age, text, {}, special_tokens=False)
            for text in shape.asked.choice_texts
        ]
        givens = [await self._give(age, prompt, shape) for prompt in shape.prompts]
        asks = shape.asks(givens, choices)
        draws = _draw_all(self._engine, self._outbox, age, [] if shape.only_echoes else asks)
        if not shape.asked.stream:
            return await unless_gone(request, _whole(shape, draws, request))
        try:
            first = await unless_gone(request, anext(draws, None))
        except BaseException:
            await draws.aclose()
            raise
        return StreamingResponse(
            _events(shape, first, draws, request),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache"},
        )

    async def _give(self, age: Age, prompt: str | list[int] | list[dict[str, str]], shape: Shape) -> Given:
        """Return a prompt's token ids, with its text where it is to be echoed."""
        ids = await self._engine.encode(age, prompt, shape.template)
        if not shape.wish.echo or not ids:
            return Given(ids)
        text = prompt if isinstance(prompt, str) else await self._engine.decode(age, ids)
        return Given(ids, text, await self._engine.decode(age, ids[:1]))

    async def _check_ids(self, age: Age, asked: Asked) -> None:
        """Refuse token ids that this age does not have. Raises ApiError (400)."""
        for param, ids in (
            ("logit_bias", [int(token_id) for token_id in asked.logit_bias or ()]),
            ("stop_token_ids", list(asked.stop_token_ids or ())),
        ):
            try:
                if ids:
                    await self._engine.encode(age, ids, {})
            except UsageError as error:
                raise ApiError(400, f"{param}: {error.problem}", param=param) from error

    async def _tokenize(self, age: Age, body: dict[str, Any]) -> Response:
        asked: TokenizeAsked = read_body(TokenizeAsked, body)
        if (asked.prompt is None) == (asked.messages is None):
            raise ApiError(400, "give either prompt or messages", param="prompt")
        if asked.prompt is not None:
            around = asked.add_special_tokens is not False
            ids = await self._engine.encode(age, asked.prompt, {}, special_tokens=around)
        else:
            messages = [message.for_template() for message in asked.messages or ()]
            if asked.add_special_tokens:
                raise ApiError(
                    400, "the chat template says which tokens there are", param="add_special_tokens"
                )
            ids = await self._engine.encode(age, messages, asked.chat_template_kwargs or {})
        return JSONResponse({"count": len(ids), "max_model_len": age.card.context_tokens, "tokens": ids})


async def _draw_all(
    engine: Engine | EngineApart, outbox: _Outbox, age: Age, asks: Sequence[tuple[Given, Ask]]
) -> Draws:
    """Draw from all asks at once; yields what has come as (which, drawn), until each has finished.

    Closing it cancels them. When the asker is slower than the engine, more comes at a time.
    """
    queue: asyncio.Queue[tuple[int, Drawn | SelvesError]] = asyncio.Queue()

    def deliver_to(which: int) -> Callable[[Drawn | SelvesError], None]:
        def deliver(drawn: Drawn | SelvesError) -> None:
            outbox.put(lambda: queue.put_nowait((which, drawn)))

        return deliver

    jobs = [Job(age, given.ids, ask, deliver_to(which)) for which, (given, ask) in enumerate(asks)]
    try:
        for job in jobs:
            engine.submit(job)
        unfinished = len(jobs)
        while unfinished:
            come = [await queue.get()]
            while not queue.empty():
                come.append(queue.get_nowait())
            whole: list[tuple[int, Drawn]] = []
            for which, drawn in come:
                if isinstance(drawn, SelvesError):
                    if whole:
                        yield whole
                    raise drawn
                whole.append((which, drawn))
                if isinstance(drawn, Piece):
                    unfinished -= drawn.finish is not None
                else:
                    unfinished -= jobs[which].ask.max_tokens == 0
            yield whole
    finally:
        for job in jobs:
            job.cancel()


async def _whole(shape: Shape, draws: Draws, request: Request) -> Response:
    """Gather everything into one answer."""
    pieces: dict[int, list[Piece]] = {}
    scores: dict[int, PromptScores] = {}
    async with aclosing(draws):
        async for come in draws:
            for which, drawn in come:
                if isinstance(drawn, Piece):
                    pieces.setdefault(which, []).append(drawn)
                else:
                    scores[which] = drawn
    answer = shape.whole([Said(pieces.get(i, ()), scores.get(i)) for i in range(shape.choices)])
    request.state.usage = answer["usage"]
    return JSONResponse(answer)


async def _events(
    shape: Shape, first: list[tuple[int, Drawn]] | None, draws: Draws, request: Request
) -> AsyncGenerator[str]:
    """Yield server-sent events as pieces come. An error half way is an event, then the stream ends."""
    options = shape.asked.stream_options

    def event(body: dict[str, Any]) -> str:
        return f"data: {json.dumps({**shape.envelope(chunk=True), **body})}\n\n"

    async with aclosing(draws):
        try:
            for opening in shape.openings():
                yield event(opening)
            if shape.only_echoes:
                for which in range(shape.choices):
                    yield event({"choices": [shape.chunk(which, Said())]})
            scores: dict[int, PromptScores] = {}
            held: dict[int, list[Piece]] = {}
            number, come = 0, first
            while come is not None:
                ready: dict[int, None] = {}
                for which, drawn in come:
                    if isinstance(drawn, PromptScores):
                        scores[which] = drawn
                    else:
                        held.setdefault(which, []).append(drawn)
                        number += 1
                    if shape.wish.max_tokens == 0 or (
                        isinstance(drawn, Piece) and (drawn.text or drawn.finish)
                    ):
                        ready[which] = None
                request.state.usage = shape.usage(number)
                for which in ready:
                    chunk = shape.chunk(which, Said(held.pop(which, ()), scores.pop(which, None)))
                    yield event({"choices": [chunk]})
                come = await anext(draws, None)
        except SelvesError as error:
            said = ApiError.from_house(error).body["error"]
            said = {**said, "message": request.state.unplaced(said["message"] or "")}
            yield f"data: {json.dumps({'error': said})}\n\n"
            return
        if options is not None and options.include_usage:
            yield event({"choices": [], "usage": shape.usage(number)})
        yield "data: [DONE]\n\n"
