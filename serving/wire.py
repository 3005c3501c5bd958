"""What crosses the wire, in OpenAI's form: what may be asked, and how a refusal looks. Pure.

Parameters that the embedded engine does not have are refused by name, never ignored: an answer drawn in
another way than was asked for would be a wrong answer that looks right.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from selves.errors import SelvesError, UsageError

HARMLESS = frozenset(
    {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "request_id"}
)
"""Parameters that do not change what is said; accepted and not used."""

NEUTRAL: dict[str, tuple[object, ...]] = {
    "add_generation_prompt": (True,),
    "add_special_tokens": (True,),
    "best_of": (1,),
    "continue_final_message": (False,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none",),
    "functions": ([],),
    "include_stop_str_in_output": (False,),
    "logit_bias": ({},),
    "min_p": (0,),
    "min_tokens": (0,),
    "parallel_tool_calls": (True, False),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "skip_special_tokens": (True,),
    "stop_token_ids": ([],),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
}
"""Parameters that are accepted only with a value that changes nothing."""


class ApiError(Exception):
    """A refusal, as the OpenAI API words it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}

    @classmethod
    def from_house(cls, error: SelvesError) -> ApiError:
        """Say one of the house's own errors: the asker's mistake is 400, anything else 503."""
        message = f"{error.problem}; {error.fix}" if error.fix else error.problem
        if isinstance(error, UsageError):
            return cls(400, message)
        return cls(503, message, kind="server_error", code="engine_unavailable")


class StreamOptions(BaseModel):
    """`stream_options`."""

    model_config = ConfigDict(strict=True)
    include_usage: bool = False


class TextPart(BaseModel):
    """One part of a message whose content is a list."""

    model_config = ConfigDict(strict=True)
    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message of a chat."""

    model_config = ConfigDict(strict=True)
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None

    def for_template(self) -> dict[str, str]:
        """Return the message as chat templates know it."""
        text = self.content if isinstance(self.content, str) else "".join(p.text for p in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


Stop = Annotated[str, Field(min_length=1)]


class Asked(BaseModel):
    """What both kinds of request have in common. None means: not said."""

    model_config = ConfigDict(strict=True, extra="allow")
    model: str
    temperature: float | None = Field(None, ge=0, le=5)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1)
    repetition_penalty: float | None = Field(None, gt=0, le=10)
    stop: Stop | list[Stop] | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    max_tokens: int | None = Field(None, ge=1)
    n: int | None = Field(None, ge=1, le=8)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    ignore_eos: bool | None = None
    return_token_ids: bool | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class CompletionAsked(Asked):
    """A request to /v1/completions."""

    prompt: str | list[int] | list[str]
    logprobs: int | None = Field(None, ge=0, le=20)


class ChatAsked(Asked):
    """A request to /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    chat_template_kwargs: dict[str, Any] | None = None


class TokenizeAsked(BaseModel):
    """A request to /tokenize, vLLM's shape: a prompt, or the messages of a chat."""

    model_config = ConfigDict(strict=True)
    model: str
    prompt: str | None = None
    messages: list[Message] | None = None
    chat_template_kwargs: dict[str, Any] | None = None


def read_asked(kind: type[Asked], body: dict[str, Any]) -> Any:
    """Check a request's body. Raises ApiError (400) that names the parameter."""
    asked = read_body(kind, body)
    for name, value in (asked.model_extra or {}).items():
        if value is None or name in HARMLESS or value in NEUTRAL.get(name, ()):
            continue
        raise ApiError(
            400,
            f"the embedded engine does not support {name!r}"
            + (f" other than {NEUTRAL[name][0]!r}" if name in NEUTRAL else ""),
            param=name,
            code="unsupported_parameter",
        )
    return asked


def read_body(kind: type[BaseModel], body: dict[str, Any]) -> Any:
    """Check a body against a model. Raises ApiError (400) that names the parameter."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        param = ".".join(map(str, problem["loc"])) or None
        raise ApiError(400, f"{param}: {problem['msg'].lower()}", param=param) from error
