"""What a client hears from a serving address: its models, the events of an answer, its refusals.

Everything here reads what came over the wire; nothing waits. `Voice` does the asking.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import httpx

from selves.errors import EngineError
from selves.speech import Form, Frozen, Prompt, Sampling, Utterance
from serving.patience import read_retry_after
from serving.wire import ENGINE_HEADER

PASSING = frozenset(
    {
        httpx.codes.TOO_MANY_REQUESTS,
        httpx.codes.BAD_GATEWAY,
        httpx.codes.SERVICE_UNAVAILABLE,
        httpx.codes.GATEWAY_TIMEOUT,
    }
)
"""Statuses after which asking again may help."""


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

    @classmethod
    def read(cls, entry: dict[str, Any]) -> ModelInfo:
        """Read one entry of /v1/models: ours, or any OpenAI-compatible server's."""
        ours = entry.get("selves") or {}
        return cls(
            address=entry["id"],
            form=ours.get("form", "chat"),
            context_tokens=ours.get("context_tokens") or entry.get("max_model_len") or 4096,
            weights_sha256=ours.get("weights_sha256", ""),
            engine=ours.get("engine") or entry.get("owned_by") or "unknown",
            engine_version=ours.get("engine_version", ""),
            parameters=ours.get("parameters"),
        )


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


class Refusal(EngineError):
    """The server answered, and said no."""

    may_pass = False
    """Whether trying again soon may help."""
    retry_after_s = 0.0


@dataclass
class Answer:
    """What has come of one answer so far."""

    info: ModelInfo
    prompt: Prompt
    sampling: Sampling
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: Literal["stop", "length"] | None = None
    error: str | None = None
    prompt_tokens: int = 0
    fingerprint: str = ""
    """The beginning of the sha256 of the weights that speak, when the server is ours."""
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started_s: float = field(default_factory=time.monotonic)

    def meet(self, headers: httpx.Headers) -> None:
        """Note which engine answers: another than expected may have stepped in."""
        engine, _, version = headers.get(ENGINE_HEADER, "").partition(" ")
        if engine:
            self.info = self.info.model_copy(update={"engine": engine, "engine_version": version})

    @property
    def begun(self) -> bool:
        return bool(self.text or self.token_ids)

    @property
    def from_other_weights(self) -> bool:
        """Whether the age was made anew since we asked what it is."""
        return (
            bool(self.info.weights_sha256)
            and re.fullmatch("[0-9a-f]{16}", self.fingerprint) is not None
            and not self.info.weights_sha256.startswith(self.fingerprint)
        )

    def take(self, event: dict[str, Any]) -> str:
        """Add one server-sent event; returns its piece of text. Raises Refusal for an error's."""
        if "error" in event:
            refusal = Refusal(_message_in(event) or "the engine failed while answering")
            error = event["error"]
            refusal.may_pass = isinstance(error, dict) and error.get("code") == "engine_unavailable"
            raise refusal
        self.fingerprint = event.get("system_fingerprint") or self.fingerprint
        usage = event.get("usage") or {}
        self.prompt_tokens = usage.get("prompt_tokens") or self.prompt_tokens
        if not event.get("choices"):
            return ""
        choice = event["choices"][0]
        prompt_ids = choice.get("prompt_token_ids") or event.get("prompt_token_ids") or ()
        self.prompt_tokens = self.prompt_tokens or len(prompt_ids)
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
            self.finish_reason = "stop" if choice["finish_reason"] == "stop" else "length"
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


async def read_events(response: httpx.Response) -> AsyncGenerator[dict[str, Any]]:
    """Yield the JSON objects of a server-sent event stream, until `[DONE]`."""
    async for line in _lines(response):
        if line.startswith(b"data:"):
            data = line.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                return
            try:
                event = json.loads(data)
            except ValueError as error:
                raise httpx.RemoteProtocolError(f"not JSON in the stream: {data[:80]!r}") from error
            if isinstance(event, dict):
                yield event


async def _lines(response: httpx.Response) -> AsyncGenerator[bytes]:
    """Yield lines as they come. httpx's own also end where a text has one of Unicode's line ends."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
    yield rest


def read_refusal(response: httpx.Response, base_url: str) -> Refusal:
    """Turn an answer that is not 200 into an error that says what to do."""
    try:
        message = _message_in(response.json())
    except ValueError:
        message = ""
    match response.status_code:
        case 401 | 403:
            fix = "set SELVES_API_KEY to a key that the server was started with"
        case 503:
            fix = "the engine's own log says why; when it is only starting, try again in a while"
        case status if status >= 500:
            fix = "the engine's own log says why"
        case _:
            fix = ""
    refusal = Refusal(message or f"{base_url} answered {response.status_code}", fix)
    refusal.may_pass = response.status_code in PASSING
    refusal.retry_after_s = read_retry_after(response.headers.get("retry-after", ""), datetime.now(UTC))
    return refusal


def _message_in(answer: object) -> str:
    """Return the message of an error in OpenAI's form, or an empty string."""
    match answer:
        case {"error": {"message": str(message)}} | {"error": str(message)} | {"message": str(message)}:
            return message
        case _:
            return ""
