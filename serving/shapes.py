"""The two shapes in which OpenAI's API asks and is answered: completions, and chat completions.

A shape is made from one request's body, says what to draw, and words what was drawn. Choices are numbered
prompt by prompt: with n = 2, the second prompt's are 2 and 3.
"""

from __future__ import annotations

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from selves.lineage import Age
from serving.asks import Ask, Piece, PromptScores
from serving.logprobs import Given, as_chat, as_completion, as_prompt, places, prompt_places
from serving.reading import read_asked
from serving.wire import ApiError, Asked, ChatAsked, CompletionAsked
from serving.wishes import Choices, Wish, check, make_asks

DEFAULT_COMPLETION_TOKENS = 16
"""max_tokens of /v1/completions when it is not said, as OpenAI has it."""

Json = dict[str, Any]


class Said(NamedTuple):
    """What has come for one choice, all of it or a part."""

    pieces: Sequence[Piece] = ()
    """None when no tokens were wanted."""
    scores: PromptScores | None = None
    """Of its prompt, if they were asked for; they come before the pieces."""


class Shape(ABC):
    """One request. Raises ApiError (400) when its body asks for what cannot be."""

    prompts: list[str | list[int] | list[dict[str, str]]]
    template: Json
    asked: Asked
    wish: Wish
    objects: tuple[str, str]
    prefix: str

    def __init__(self, age: Age) -> None:
        self._age = age
        self._id = f"{self.prefix}-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._givens: list[Given] = []

    def asks(self, givens: list[Given], choices: Choices = ()) -> list[tuple[Given, Ask]]:
        """Return how each choice is drawn. Raises ApiError when a prompt leaves no room."""
        self._givens = givens
        return make_asks(self.asked, self.wish, givens, self._age.card.context_tokens, choices)

    @property
    def choices(self) -> int:
        """How many there are, over all prompts."""
        return len(self._givens) * (self.asked.n or 1)

    @property
    def only_echoes(self) -> bool:
        """Whether there is nothing that a model is needed for: the prompt is wanted back, and no more."""
        return self.wish.max_tokens == 0 and self.wish.prompt_logprobs is None

    def envelope(self, *, chunk: bool = False) -> Json:
        """Return what stands around the choices of an answer, or of a chunk of one."""
        return {
            "id": self._id,
            "object": self.objects[chunk],
            "created": self._created,
            "model": self._age.card.address,
            "system_fingerprint": self._age.card.weights_sha256[:16],
        }

    def usage(self, drawn: int) -> dict[str, int]:
        prompt = sum(len(given.ids) for given in self._givens)
        return {"prompt_tokens": prompt, "completion_tokens": drawn, "total_tokens": prompt + drawn}

    def whole(self, saids: Sequence[Said]) -> Json:
        """Return the answer with all its choices."""
        choices = [self.choice(which, said) for which, said in enumerate(saids)]
        drawn = sum(len(said.pieces) for said in saids)
        return {**self.envelope(), "choices": choices, "usage": self.usage(drawn)}

    def openings(self) -> list[Json]:
        """Return the bodies of the chunks, without their envelope, with which a stream begins."""
        return []

    @abstractmethod
    def choice(self, which: int, said: Said) -> Json:
        """Return one whole choice."""

    @abstractmethod
    def chunk(self, which: int, said: Said) -> Json:
        """Return what this adds to one choice of a stream."""

    def _ending(self, pieces: Sequence[Piece]) -> Json:
        """Return how a choice ended and, if asked for, its token ids (vLLM's extras)."""
        ids = {"token_ids": [p.token.token_id for p in pieces]} if self.asked.return_token_ids else {}
        finish, stop = (pieces[-1].finish, pieces[-1].stop) if pieces else ("length", None)
        reason = "repetition_detected" if finish == "repetition" else stop
        return {"finish_reason": finish, "stop_reason": reason, **ids}


class CompletionShape(Shape):
    """/v1/completions: texts to continue."""

    prefix = "cmpl"
    objects = ("text_completion", "text_completion")

    def __init__(self, age: Age, body: Json) -> None:
        super().__init__(age)
        asked: CompletionAsked = read_asked(CompletionAsked, body)
        self.asked = asked
        self.template = {}
        self.prompts = [*asked.prompts]
        self._scored = asked.logprobs is not None
        default = None if asked.choice_texts else DEFAULT_COMPLETION_TOKENS
        echoed = asked.logprobs if asked.echo else None
        self.wish = Wish(
            prompt_name="prompt",
            max_tokens=default if asked.max_tokens is None else asked.max_tokens,
            stop=asked.stops,
            logprobs=asked.logprobs,
            prompt_logprobs=echoed if asked.prompt_logprobs is None else asked.prompt_logprobs,
            echo=bool(asked.echo),
        )
        check(asked, self.wish, len(self.prompts))
        self._offsets: dict[int, int] = {}
        self._begun: set[int] = set()

    def choice(self, which: int, said: Said) -> Json:
        choice = self.chunk(which, said)
        if self.asked.prompt_logprobs is not None and said.scores is not None:
            choice["prompt_logprobs"] = as_prompt(said.scores)
        return choice

    def chunk(self, which: int, said: Said) -> Json:
        given, begins = self._givens[which // (self.asked.n or 1)], which not in self._begun
        self._begun.add(which)
        echoed = given if begins and self.wish.echo else None
        text = "".join(piece.text for piece in said.pieces)
        ids = {"prompt_token_ids": given.ids} if begins and self.asked.return_token_ids else {}
        return {
            "index": which,
            "text": echoed.text + text if echoed else text,
            "logprobs": self._logprobs(which, echoed, said) if self._scored else None,
            **self._ending(said.pieces),
            **ids,
        }

    def _logprobs(self, which: int, echoed: Given | None, said: Said) -> Json:
        there = places(said.pieces)
        if echoed and said.scores is not None:
            there = [*prompt_places(said.scores), *there]
        first = echoed.first if echoed else None
        logprobs = as_completion(there, offset=self._offsets.get(which, 0), first=first)
        if logprobs["tokens"]:
            self._offsets[which] = logprobs["text_offset"][-1] + len(logprobs["tokens"][-1])
        return logprobs


class ChatShape(Shape):
    """/v1/chat/completions: messages for the age's chat template."""

    prefix = "chatcmpl"
    objects = ("chat.completion", "chat.completion.chunk")

    def __init__(self, age: Age, body: Json) -> None:
        super().__init__(age)
        asked: ChatAsked = read_asked(ChatAsked, body)
        self.asked = asked
        self.template = asked.chat_template_kwargs or {}
        self.prompts = [[message.for_template() for message in asked.messages]]
        if asked.top_logprobs and not asked.logprobs:
            raise ApiError(400, "top_logprobs needs logprobs: true", param="top_logprobs")
        self._scored = bool(asked.logprobs)
        # a transcript age goes on with the others' lines; whoever chats with it wants its own line only
        one_line = age.card.form == "transcript" and asked.stop is None
        self.wish = Wish(
            prompt_name="messages",
            max_tokens=asked.max_tokens
            if asked.max_completion_tokens is None
            else asked.max_completion_tokens,
            stop=("\n",) if one_line else asked.stops,
            logprobs=(asked.top_logprobs or 0) if asked.logprobs else None,
            prompt_logprobs=asked.prompt_logprobs,
        )
        check(asked, self.wish, len(self.prompts))

    def whole(self, saids: Sequence[Said]) -> Json:
        scores = saids[0].scores
        about = {} if scores is None else {"prompt_logprobs": as_prompt(scores)}
        return {**super().whole(saids), **self._prompt_ids(), **about}

    def openings(self) -> list[Json]:
        delta = {"role": "assistant", "content": ""}
        choices = [{"index": i, "delta": delta, "finish_reason": None} for i in range(self.asked.n or 1)]
        return [{"choices": [choices[0]], **self._prompt_ids()}, *({"choices": [c]} for c in choices[1:])]

    def choice(self, which: int, said: Said) -> Json:
        text = "".join(piece.text for piece in said.pieces)
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": which, "message": message, **self._logprobs(said), **self._ending(said.pieces)}

    def chunk(self, which: int, said: Said) -> Json:
        delta = {"content": "".join(piece.text for piece in said.pieces)}
        return {"index": which, "delta": delta, **self._logprobs(said), **self._ending(said.pieces)}

    def _logprobs(self, said: Said) -> Json:
        return {"logprobs": as_chat(places(said.pieces)) if self._scored else None}

    def _prompt_ids(self) -> Json:
        return {"prompt_token_ids": self._givens[0].ids} if self.asked.return_token_ids else {}
