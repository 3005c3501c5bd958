"""Voice: the client that everything talks through, over the OpenAI API to whichever engine answers.

    async with Voice("http://127.0.0.1:8640") as voice:
        prompt, sampling = await voice.compose(persona, lines, names=names, seed=7)
        utterance = await voice.say(persona.address, prompt, sampling)

What comes back is a whole record (`Utterance`): the text, its token ids and log-probability, the seed, and
the sha256 of the weights that said it. A generation that fails half way is kept with its error.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import httpx

from selves.cast import Persona
from selves.errors import EngineError
from selves.speech import ChatMessage, Form, Frozen, Prompt, Sampling, Utterance
from serving.prompt import Line, build_prompt, make_sampling

ATTEMPTS = 4
"""How often a request is tried while nothing of an answer has come."""
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


class ModelInfo(Frozen):
    """What the serving address says about one of its models."""

    address: str
    form: Form
    context_tokens: int
    weights_sha256: str
    """Empty when the server is not ours and does not say."""
    engine: str
    engine_version: str
    parameters: int | None = None
    """None when the server does not say."""


def unfinished(
    info: ModelInfo,
    prompt: Prompt,
    sampling: Sampling,
    started_at: datetime,
    text: str = "",
    error: str | None = None,
) -> Utterance:
    """Return the record of a sample that was broken off: by an `error`, or else by a person."""
    return Utterance(
        address=info.address,
        weights_sha256=info.weights_sha256,
        engine=info.engine,
        engine_version=info.engine_version,
        prompt=prompt,
        sampling=sampling,
        text=text,
        finish_reason="error" if error else "cancelled",
        error=error,
        started_at=started_at,
        duration_s=(datetime.now(UTC) - started_at).total_seconds(),
    )


class Voice:
    """A connection to one serving address. Use as an async context manager.

    `timeout_s` bounds the wait for each piece of an answer, the first included.
    """

    def __init__(self, base_url: str, api_key: str = "", *, timeout_s: float = 120.0) -> None:
        self.base_url = base_url.rstrip("/").removesuffix("/v1")
        self._client = httpx.AsyncClient(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(timeout_s, connect=5.0),
            limits=httpx.Limits(max_connections=None),
            trust_env=urlsplit(self.base_url).hostname not in LOCAL_HOSTS,
        )
        self._infos: dict[str, ModelInfo] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def models(self) -> dict[str, ModelInfo]:
        """Ask which addresses can be spoken to. Raises EngineError."""
        answer = await self._ask("GET", "/v1/models")
        try:
            infos = [_read_model(entry) for entry in answer["data"]]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise self._not_ours() from error
        self._infos = {info.address: info for info in infos}
        return self._infos

    async def info(self, address: str) -> ModelInfo:
        """Return what is known about one address; asks the server when it is new. Raises EngineError."""
        if address not in self._infos:
            await self.models()
        try:
            return self._infos[address]
        except KeyError:
            known = ", ".join(self._infos) or "none"
            raise EngineError(
                f"nobody at {self.base_url} answers to {address!r}", f"there are: {known}"
            ) from None

    async def count_tokens(self, address: str, text: str | Sequence[ChatMessage]) -> int:
        """Return how many tokens a text takes, or a chat through the model's template. Raises EngineError."""
        body: dict[str, Any] = {"model": address}
        if isinstance(text, str):
            body["prompt"] = text
        else:
            body["messages"] = [message.model_dump() for message in text]
        answer = await self._ask("POST", "/tokenize", body)
        count = answer.get("count")
        if not isinstance(count, int):
            raise self._not_ours()
        return count

    async def compose(
        self,
        persona: Persona,
        lines: Sequence[Line],
        *,
        premise: str = "",
        names: Collection[str] = (),
        seed: int = 0,
    ) -> tuple[Prompt, Sampling]:
        """Fit what was said into this self's window, and say how to draw its next line. Raises EngineError.

        `names` are all who are present, the persona may be among them.
        """
        info = await self.info(persona.address)
        sampling = make_sampling(info, persona, names, seed=seed)
        counts: dict[str | tuple[ChatMessage, ...], int] = {}

        def count(text: str | tuple[ChatMessage, ...]) -> int:
            if text not in counts:
                raise _NotCountedError(text)
            return counts[text]

        # build_prompt is pure, so it is simply run again whenever it asks for a count we do not have yet
        while True:
            try:
                prompt = build_prompt(
                    info, persona, lines, premise=premise, names=names, count=count, sampling=sampling
                )
            except _NotCountedError as missing:
                counts[missing.text] = await self.count_tokens(persona.address, missing.text)
            else:
                return prompt, sampling

    async def say(self, address: str, prompt: Prompt, sampling: Sampling) -> Utterance:
        """Generate once, to the end. Raises EngineError only when nothing at all could be had."""
        async with aclosing(self.stream(address, prompt, sampling)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Utterance):
                    return piece
        raise AssertionError("a stream ends with an utterance")

    async def stream(
        self, address: str, prompt: Prompt, sampling: Sampling
    ) -> AsyncGenerator[str | Utterance]:
        """Yield pieces of text as they come, and at last the Utterance that they make.

        Closing the iterator (`aclosing`, or cancelling the task) cancels the request on the server. Raises
        EngineError only when nothing at all could be had; a failure after the first piece ends in an
        Utterance whose `error` says what happened.
        """
        info = await self.info(address)
        path, body = _request(address, prompt, sampling)
        answer = _Answer(info, prompt, sampling)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._client.stream("POST", path, json=body) as response:
                    if response.status_code != httpx.codes.OK:
                        await response.aread()
                        raise _refusal(response, self.base_url)
                    async for event in _events(response):
                        piece = answer.take(event)
                        if piece:
                            yield piece
                if answer.finish_reason is None:
                    raise httpx.RemoteProtocolError("the answer ended before it was finished")
            except httpx.TransportError as error:
                if answer.begun:
                    answer.error = f"{type(error).__name__}: {error}".rstrip(": ")
                elif attempt == ATTEMPTS or isinstance(error, httpx.ReadTimeout):
                    raise self._unreachable(error) from error
                else:
                    await _pause(attempt)
                    continue
            except _EngineRefusal as refusal:
                if answer.begun:
                    answer.error = refusal.problem
                elif refusal.may_pass and attempt < ATTEMPTS:
                    await _pause(attempt)
                    continue
                else:
                    raise
            break
        yield answer.utterance()

    async def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Make one plain request, retried while the server is unreachable or says 503."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = await self._client.request(method, path, json=body)
                if response.status_code != httpx.codes.OK:
                    raise _refusal(response, self.base_url)
                answer = response.json()
            except httpx.TransportError as error:
                if attempt == ATTEMPTS:
                    raise self._unreachable(error) from error
            except _EngineRefusal as refusal:
                if attempt == ATTEMPTS or not refusal.may_pass:
                    raise
            except ValueError as error:
                raise self._not_ours() from error
            else:
                if isinstance(answer, dict):
                    return answer
                raise self._not_ours()
            await _pause(attempt)
        raise AssertionError("the last attempt returns or raises")

    def _unreachable(self, error: httpx.TransportError) -> EngineError:
        reason = str(error) or type(error).__name__
        return EngineError(
            f"nobody answers at {self.base_url} ({reason})",
            "start the engine with `selves serve`, or set SELVES_URL to where it runs",
        )

    def _not_ours(self) -> EngineError:
        return EngineError(
            f"what answers at {self.base_url} does not speak the OpenAI API as Selves needs it",
            "set SELVES_URL to an address of `selves serve` or vLLM, or [serving] port to a free one",
        )


class _NotCountedError(Exception):
    """Raised inside `compose` to ask for one more count."""

    def __init__(self, text: str | tuple[ChatMessage, ...]) -> None:
        super().__init__(text)
        self.text = text


class _EngineRefusal(EngineError):
    """The server answered, and said no."""

    may_pass = False
    """Whether trying again soon may help."""


@dataclass
class _Answer:
    """What has come of one answer so far."""

    info: ModelInfo
    prompt: Prompt
    sampling: Sampling
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: Literal["stop", "length"] | None = None
    error: str | None = None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started_s: float = field(default_factory=time.monotonic)

    @property
    def begun(self) -> bool:
        return bool(self.text or self.token_ids)

    def take(self, event: dict[str, Any]) -> str:
        """Add one server-sent event; returns its piece of text."""
        if "error" in event:
            raise _EngineRefusal(_message_in(event) or "the engine failed while answering")
        if not event.get("choices"):
            return ""
        choice = event["choices"][0]
        logprobs = choice.get("logprobs") or {}
        if self.prompt.form == "chat":
            piece = (choice.get("delta") or {}).get("content") or ""
            self.logprobs += [entry["logprob"] for entry in logprobs.get("content") or ()]
        else:
            piece = choice.get("text") or ""
            self.logprobs += [value for value in logprobs.get("token_logprobs") or () if value is not None]
        self.token_ids += choice.get("token_ids") or ()
        self.text += piece
        if choice.get("finish_reason"):
            self.finish_reason = "length" if choice["finish_reason"] == "length" else "stop"
        return str(piece)

    def utterance(self) -> Utterance:
        return Utterance(
            address=self.info.address,
            weights_sha256=self.info.weights_sha256,
            engine=self.info.engine,
            engine_version=self.info.engine_version,
            prompt=self.prompt,
            sampling=self.sampling,
            text=self.text,
            token_ids=tuple(self.token_ids),
            finish_reason="error" if self.error else self.finish_reason or "stop",
            mean_logprob=sum(self.logprobs) / len(self.logprobs) if self.logprobs else None,
            error=self.error,
            started_at=self.started_at,
            duration_s=time.monotonic() - self.started_s,
        )


def _read_model(entry: dict[str, Any]) -> ModelInfo:
    """Read one entry of /v1/models: ours, or any OpenAI-compatible server's."""
    ours = entry.get("selves") or {}
    return ModelInfo(
        address=entry["id"],
        form=ours.get("form", "chat"),
        context_tokens=ours.get("context_tokens") or entry.get("max_model_len") or 4096,
        weights_sha256=ours.get("weights_sha256", ""),
        engine=ours.get("engine") or entry.get("owned_by") or "unknown",
        engine_version=ours.get("engine_version", ""),
        parameters=ours.get("parameters"),
    )


def _request(address: str, prompt: Prompt, sampling: Sampling) -> tuple[str, dict[str, Any]]:
    """Return the path and body that ask for this, with everything that the record needs."""
    body: dict[str, Any] = {
        "model": address,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        # said, because vLLM would take it from the checkpoint otherwise, and the record would not know
        "top_k": 0,
        "repetition_penalty": sampling.repetition_penalty,
        "stop": list(sampling.stop),
        "seed": sampling.seed,
        "stream": True,
        "return_token_ids": True,
    }
    if prompt.form == "chat":
        messages = [message.model_dump() for message in prompt.messages]
        return "/v1/chat/completions", {**body, "messages": messages, "logprobs": True, "top_logprobs": 0}
    return "/v1/completions", {**body, "prompt": prompt.text, "logprobs": 0}


async def _events(response: httpx.Response) -> AsyncGenerator[dict[str, Any]]:
    """Yield the JSON objects of a server-sent event stream, until `[DONE]`."""
    async for line in response.aiter_lines():
        if line.startswith("data:"):
            data = line[5:].strip()
            if data == "[DONE]":
                return
            try:
                event = json.loads(data)
            except ValueError as error:
                raise httpx.RemoteProtocolError(f"not JSON in the stream: {data[:80]!r}") from error
            if isinstance(event, dict):
                yield event


def _message_in(answer: object) -> str:
    """Return the message of an error in OpenAI's form, or an empty string."""
    match answer:
        case {"error": {"message": str(message)}} | {"error": str(message)} | {"message": str(message)}:
            return message
        case _:
            return ""


def _refusal(response: httpx.Response, base_url: str) -> _EngineRefusal:
    """Turn an answer that is not 200 into an error that says what to do."""
    try:
        message = _message_in(response.json())
    except ValueError:
        message = ""
    match response.status_code:
        case 401 | 403:
            fix = "set SELVES_API_KEY to the key that the server was started with"
        case 503:
            fix = "the engine's own log says why; when it is only starting, try again in a while"
        case status if status >= 500:
            fix = "the engine's own log says why"
        case _:
            fix = ""
    refusal = _EngineRefusal(message or f"{base_url} answered {response.status_code}", fix)
    refusal.may_pass = response.status_code == httpx.codes.SERVICE_UNAVAILABLE
    return refusal


async def _pause(attempt: int) -> None:
    """Wait a little before trying again, longer each time, and not all clients at once."""
    await asyncio.sleep(0.1 * 2**attempt * random.uniform(0.5, 1.5))
