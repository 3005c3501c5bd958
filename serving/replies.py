"""What the address answers, described: for /openapi.json, and for whoever writes a client.

The answers themselves are worded in `shapes.py` and `api.py`; a test holds them against this.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Finish = Literal["stop", "length", "repetition"]


class Reply(BaseModel):
    """Anything that is answered."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class ErrorBody(Reply):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    """The parameter that is wrong."""
    code: str | None


class Error(Reply):
    """An error, in OpenAI's form."""

    error: ErrorBody


class Usage(Reply):
    """How many tokens it took."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ScoredToken(Reply):
    """vLLM's word for one token of a prompt."""

    logprob: float
    rank: int | None
    decoded_token: str | None


PromptLogprobs = list[dict[str, ScoredToken] | None]


class CompletionLogprobs(Reply):
    """Log-probabilities of a completion, before temperature and penalties."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(Reply):
    """One completion of one prompt."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Finish
    stop_reason: str | int | None
    """The stop string or stop token id that ended it, if one did."""
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None
    prompt_logprobs: PromptLogprobs | None = None


class Completion(Reply):
    """The answer of /v1/completions. Choices are numbered prompt by prompt."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str | None
    """The beginning of the sha256 of the weights that spoke."""
    choices: list[CompletionChoice]
    usage: Usage


class TopLogprob(Reply):
    """A token that might have been drawn."""

    token: str
    logprob: float
    bytes: list[int] | None


class ChatLogprob(TopLogprob):
    """A token that was drawn."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(Reply):
    """Log-probabilities of a chat's answer, before temperature and penalties."""

    content: list[ChatLogprob] | None
    refusal: None


class Said(Reply):
    """The message of an answer."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(Reply):
    """One answer."""

    index: int
    message: Said
    logprobs: ChatLogprobs | None
    finish_reason: Finish
    stop_reason: str | int | None
    token_ids: list[int] | None = None


class Chat(Reply):
    """The answer of /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str | None
    """The beginning of the sha256 of the weights that spoke."""
    choices: list[ChatChoice]
    usage: Usage
    prompt_token_ids: list[int] | None = None
    prompt_logprobs: PromptLogprobs | None = None


class Tokens(Reply):
    """The answer of /tokenize."""

    count: int
    max_model_len: int
    tokens: list[int]


class Text(Reply):
    """The answer of /detokenize."""

    prompt: str


class AboutAge(Reply):
    """What is known of an age."""

    form: Literal["transcript", "chat"]
    context_tokens: int
    weights_sha256: str
    engine: str
    engine_version: str
    parent: str | None
    origin: Literal["trained", "imported"]
    parameters: int
    tokens_seen: int
    bits_per_byte: float | None


class Model(Reply):
    """An age that can be spoken to."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int
    selves: AboutAge


class Models(Reply):
    """All ages that can be spoken to."""

    object: Literal["list"]
    data: list[Model]


class Health(Reply):
    """How it is."""

    status: str
    """`ok`, or why nothing can be answered now."""
    selves: str
    """Which house's ages these are."""
    engine: str
    engines: dict[str, str]
    """Each engine: `ok`, or what is wrong with it."""
