"""The two shapes in which OpenAI's API asks and is answered: completions, and chat completions.

A shape is made from one request's body, says what to draw, and words what was drawn.
"""

from __future__ import annotations

import secrets
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from selves.lineage import Age
from serving.asks import Ask, Piece, Scored
from serving.wire import ApiError, Asked, ChatAsked, CompletionAsked, read_asked

DEFAULT_COMPLETION_TOKENS = 16
"""max_tokens of /v1/completions when it is not said, as OpenAI has it."""
LOWEST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON does not have; vLLM's choice."""

Json = dict[str, Any]


class Shape(ABC):
    """One request. Raises ApiError (400) when its body asks for what cannot be."""

    prompt: str | list[int] | list[dict[str, str]]
    template: Json
    asked: Asked
    objects: tuple[str, str]
    prefix: str
    prompt_name: str

    def __init__(self, age: Age) -> None:
        self._age = age
        self._id = f"{self.prefix}-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self.prompt_ids: list[int] = []

    def asks(self, prompt_ids: list[int]) -> list[Ask]:
        """Return how each choice is drawn. Raises ApiError when the prompt leaves no room."""
        self.prompt_ids = prompt_ids
        window = self._age.card.context_tokens
        room = window - len(prompt_ids)
        if not prompt_ids:
            raise ApiError(400, "the prompt is empty; give at least one token", param=self.prompt_name)
        if room < 1:
            raise ApiError(
                400,
                f"This model's maximum context length is {window} tokens. However, your request has "
                f"{len(prompt_ids)} input tokens. Please reduce the length of the {self.prompt_name}.",
                param=self.prompt_name,
                code="context_length_exceeded",
            )
        asked = self.asked
        seed = secrets.randbits(62) if asked.seed is None else asked.seed
        return [
            Ask(
                max_tokens=min(self._max_tokens() or room, room),
                temperature=1.0 if asked.temperature is None else asked.temperature,
                top_p=1.0 if asked.top_p is None else asked.top_p,
                top_k=asked.top_k or 0,
                repetition_penalty=1.0 if asked.repetition_penalty is None else asked.repetition_penalty,
                stop=self._stops(),
                seed=(seed + which) % 2**63,
                logprobs=self._alternatives(),
                ignore_eos=bool(asked.ignore_eos),
            )
            for which in range(asked.n or 1)
        ]

    def envelope(self, *, chunk: bool = False) -> Json:
        """Return what stands around the choices of an answer, or of a chunk of one."""
        return {
            "id": self._id,
            "object": self.objects[chunk],
            "created": self._created,
            "model": self._age.card.address,
            "system_fingerprint": self._age.card.weights_sha256[:16],
        }

    def usage(self, drawn: int) -> Json:
        prompt = len(self.prompt_ids)
        return {"prompt_tokens": prompt, "completion_tokens": drawn, "total_tokens": prompt + drawn}

    def openings(self) -> list[Json]:
        """Return the choices with which a stream begins."""
        return []

    @abstractmethod
    def choice(self, which: int, pieces: Sequence[Piece]) -> Json:
        """Return one whole choice."""

    @abstractmethod
    def chunk(self, which: int, pieces: Sequence[Piece]) -> Json:
        """Return what these pieces add to one choice of a stream."""

    @abstractmethod
    def _max_tokens(self) -> int | None: ...

    @abstractmethod
    def _alternatives(self) -> int | None: ...

    def _stops(self) -> tuple[str, ...]:
        return self.asked.stops

    def _ending(self, pieces: Sequence[Piece]) -> Json:
        """Return how a choice ended and, if asked for, its token ids (vLLM's extras)."""
        ids = {"token_ids": [p.token.token_id for p in pieces]} if self.asked.return_token_ids else {}
        return {"finish_reason": pieces[-1].finish, "stop_reason": pieces[-1].stop, **ids}


class CompletionShape(Shape):
    """/v1/completions: a text to continue."""

    prefix = "cmpl"
    objects = ("text_completion", "text_completion")
    prompt_name = "prompt"

    def __init__(self, age: Age, body: Json) -> None:
        super().__init__(age)
        self.asked: CompletionAsked = read_asked(CompletionAsked, body)
        self.template = {}
        self.prompt = _one_prompt(self.asked.prompt)
        self._offsets: dict[int, int] = {}

    def choice(self, which: int, pieces: Sequence[Piece]) -> Json:
        return self.chunk(which, pieces)

    def chunk(self, which: int, pieces: Sequence[Piece]) -> Json:
        return {
            "index": which,
            "text": "".join(piece.text for piece in pieces),
            "logprobs": None if self.asked.logprobs is None else self._logprobs(which, pieces),
            **self._ending(pieces),
        }

    def _max_tokens(self) -> int | None:
        return self.asked.max_tokens or DEFAULT_COMPLETION_TOKENS

    def _alternatives(self) -> int | None:
        return self.asked.logprobs

    def _logprobs(self, which: int, pieces: Sequence[Piece]) -> Json:
        offsets = []
        for piece in pieces:
            offsets.append(self._offsets.get(which, 0))
            self._offsets[which] = offsets[-1] + len(piece.token.text)
        return {
            "tokens": [piece.token.text for piece in pieces],
            "token_logprobs": [_finite(piece.token.logprob) for piece in pieces],
            "top_logprobs": [
                {scored.text: _finite(scored.logprob) for scored in (*piece.alternatives, piece.token)}
                for piece in pieces
            ],
            "text_offset": offsets,
        }


class ChatShape(Shape):
    """/v1/chat/completions: messages for the age's chat template."""

    prefix = "chatcmpl"
    objects = ("chat.completion", "chat.completion.chunk")
    prompt_name = "messages"

    def __init__(self, age: Age, body: Json) -> None:
        super().__init__(age)
        self.asked: ChatAsked = read_asked(ChatAsked, body)
        self.template = self.asked.chat_template_kwargs or {}
        self.prompt = [message.for_template() for message in self.asked.messages]
        if self.asked.top_logprobs and not self.asked.logprobs:
            raise ApiError(400, "top_logprobs needs logprobs: true", param="top_logprobs")

    def openings(self) -> list[Json]:
        delta = {"role": "assistant", "content": ""}
        return [{"index": i, "delta": delta, "finish_reason": None} for i in range(self.asked.n or 1)]

    def choice(self, which: int, pieces: Sequence[Piece]) -> Json:
        text = "".join(piece.text for piece in pieces)
        return {
            "index": which,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": self._logprobs(pieces),
            **self._ending(pieces),
        }

    def chunk(self, which: int, pieces: Sequence[Piece]) -> Json:
        return {
            "index": which,
            "delta": {"content": "".join(piece.text for piece in pieces)},
            "logprobs": self._logprobs(pieces),
            **self._ending(pieces),
        }

    def _max_tokens(self) -> int | None:
        return self.asked.max_completion_tokens or self.asked.max_tokens

    def _alternatives(self) -> int | None:
        return (self.asked.top_logprobs or 0) if self.asked.logprobs else None

    def _stops(self) -> tuple[str, ...]:
        # a transcript age goes on with the others' lines; whoever chats with it wants its own line only
        if self._age.card.form == "transcript" and self.asked.stop is None:
            return ("\n",)
        return self.asked.stops

    def _logprobs(self, pieces: Sequence[Piece]) -> Json | None:
        if not self.asked.logprobs:
            return None
        return {
            "content": [
                {**_named(piece.token), "top_logprobs": [_named(scored) for scored in piece.alternatives]}
                for piece in pieces
            ],
            "refusal": None,
        }


def _one_prompt(prompt: str | list[int] | list[str]) -> str | list[int]:
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], str):
        if len(prompt) > 1:
            raise ApiError(400, "one prompt per request; send several requests instead", param="prompt")
        return prompt[0]
    return prompt  # type: ignore[return-value]


def _named(scored: Scored) -> Json:
    return {
        "token": scored.text,
        "logprob": _finite(scored.logprob),
        "bytes": list(scored.text.encode("utf-8", "replace")),
    }


def _finite(logprob: float) -> float:
    return max(logprob, LOWEST_LOGPROB)
