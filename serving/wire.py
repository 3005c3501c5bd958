"""What crosses the wire, in OpenAI's form: what may be asked, and how a refusal looks. Pure.

Where OpenAI has no word for something, vLLM's is used. `reading.py` checks requests against this.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from selves.errors import AgeError, SelvesError, UnfitError, UsageError

MAX_CHOICES = 128
"""Of one request, over all its prompts."""
ENGINE_HEADER = "x-selves-engine"
"""Of an answer: which engine gave it, and after a space its version. Only our own address sends it."""
RETRY_AFTER_S = 2
"""What a client is told to wait when an engine is not there just now."""


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
        """Say one of the house's own errors: the asker's mistake is 400, a damaged age 500, one that cannot
        be run here 501, the rest 503: only then asking again may help.
        """
        message = f"{error.problem}; {error.fix}" if error.fix else error.problem
        if isinstance(error, UsageError):
            return cls(400, message)
        if isinstance(error, AgeError):
            return cls(500, message, kind="server_error", code="age_damaged")
        if isinstance(error, UnfitError):
            return cls(501, message, kind="server_error", code="age_unfit")
        return cls(503, message, kind="server_error", code="engine_unavailable")

    @property
    def headers(self) -> dict[str, str]:
        """Return what goes with it beside the body."""
        if self.status in (408, 413):
            return {"Connection": "close"}  # what else the client sends is not read
        return {"Retry-After": str(RETRY_AFTER_S)} if self.status == 503 else {}


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Int = Annotated[int, BeforeValidator(_whole)]
"""JSON's integers: 3.0 is one too."""


class Part(BaseModel):
    """A table inside a request. Unknown keys are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", use_attribute_docstrings=True)


class StreamOptions(Part):
    """`stream_options`."""

    include_usage: bool = False
    """End the stream with a chunk that has no choices and says how many tokens it took."""


class StructuredOutputs(Part):
    """`structured_outputs`: only one of these texts can come."""

    choice: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1, max_length=1000)


class RepetitionDetection(Part):
    """`repetition_detection`: when a sequence is stuck, and ends with finish_reason `repetition`."""

    max_pattern_size: Int = Field(ge=1, le=1000)
    """The longest pattern of tokens that is looked for."""
    min_pattern_size: Int = Field(1, ge=0, le=1000)
    min_count: Int = Field(ge=2, le=1000)
    """How often in a row it must come."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.min_pattern_size > self.max_pattern_size:
            raise ValueError("min_pattern_size may not be larger than max_pattern_size")
        return self


class TextPart(Part):
    """One part of a message whose content is a list."""

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
TokenId = Annotated[Int, Field(ge=0, lt=2**31)]
TokenKey = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
LogitBias = Annotated[
    dict[TokenKey, Annotated[float, Field(ge=-100, le=100)]],
    Field(max_length=1024, json_schema_extra={"additionalProperties": False}),
]


class Asked(BaseModel):
    """What both kinds of request have in common. None means: not said."""

    model_config = ConfigDict(strict=True, extra="allow", use_attribute_docstrings=True)
    model: str
    """The address of an age."""
    temperature: float | None = Field(None, ge=0, le=5)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: Int | None = Field(None, ge=-1, lt=2**31)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, ge=0.01, le=10)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: LogitBias | None = None
    """Token id -> what is added to its logit."""
    stop: Stop | Annotated[list[Stop], Field(max_length=64)] | None = None
    stop_token_ids: list[TokenId] | None = None
    seed: Int | None = Field(None, ge=-(2**63), lt=2**63)
    max_tokens: Int | None = Field(None, ge=0, lt=2**63)
    """0 asks for nothing but the prompt's log-probabilities, or its echo."""
    min_tokens: Int | None = Field(None, ge=0, lt=2**63)
    n: Int | None = Field(None, ge=1, le=16)
    """Choices for each prompt."""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    ignore_eos: bool | None = None
    prompt_logprobs: Int | None = Field(None, ge=0, le=20)
    """Score the prompt's own tokens, with so many alternatives each. Not in streams."""
    return_token_ids: bool | None = None
    structured_outputs: StructuredOutputs | None = None
    repetition_detection: RepetitionDetection | None = None
    priority: Int | None = Field(None, ge=-(2**63), lt=2**63)
    """Lower goes first where requests wait."""

    @property
    def stops(self) -> tuple[str, ...]:
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def choice_texts(self) -> list[str]:
        return self.structured_outputs.choice if self.structured_outputs else []


class CompletionAsked(Asked):
    """A request to /v1/completions. Several prompts are answered in their order."""

    prompt: str | list[TokenId] | list[str] | list[list[TokenId]]
    logprobs: Int | None = Field(None, ge=0, le=20)
    echo: bool | None = None
    """Put the prompt in front of each choice; with `logprobs`, its log-probabilities too."""
    add_special_tokens: Literal[True] | None = None

    @property
    def prompts(self) -> list[str | list[int]]:
        """Return the prompts one by one; none for an empty list."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and isinstance(self.prompt[0], int):
            return [self.prompt]
        return [*self.prompt]


class ChatAsked(Asked):
    """A request to /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: Int | None = Field(None, ge=1, lt=2**63)
    logprobs: bool | None = None
    top_logprobs: Int | None = Field(None, ge=0, le=20)
    chat_template_kwargs: dict[str, Any] | None = None
    echo: Literal[False] | None = None
    add_special_tokens: Literal[False] | None = None


class TokenizeAsked(Part):
    """A request to /tokenize, vLLM's shape: a prompt, or the messages of a chat."""

    model: str
    prompt: str | None = None
    messages: list[Message] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_special_tokens: bool | None = None
    """Whether a prompt gets the tokens around it that the age's tokenizer puts there; true if not said."""


class DetokenizeAsked(Part):
    """A request to /detokenize, vLLM's shape."""

    model: str
    tokens: list[TokenId]
