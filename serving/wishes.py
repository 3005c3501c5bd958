"""From a request's words to the engine's: how each choice of it is drawn. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import NamedTuple

from serving.asks import Ask, Repetition
from serving.logprobs import Given
from serving.wire import MAX_CHOICES, ApiError, Asked

Choices = Sequence[Sequence[int]]
"""The token ids of `structured_outputs.choice`."""


class Wish(NamedTuple):
    """What the two kinds of request say in different ways."""

    prompt_name: str
    """The parameter with the prompt, for errors."""
    max_tokens: int | None
    """None: as many as there is room for."""
    stop: tuple[str, ...]
    logprobs: int | None
    prompt_logprobs: int | None
    echo: bool = False


def check(asked: Asked, wish: Wish, prompts: int) -> None:
    """Refuse what contradicts itself or is too much, before anything is tokenized. Raises ApiError (400)."""
    n, least = asked.n or 1, asked.min_tokens or 0
    if not prompts:
        raise ApiError(400, "the prompt is empty; give at least one", param=wish.prompt_name)
    if prompts * n > MAX_CHOICES:
        raise ApiError(
            400,
            f"{prompts} prompts with {n} choices each: more than {MAX_CHOICES}; send several requests",
            param=wish.prompt_name,
        )
    if wish.max_tokens == 0 and wish.prompt_logprobs is None and not wish.echo:
        raise ApiError(400, "max_tokens: 0 needs prompt_logprobs or echo", param="max_tokens")
    if wish.max_tokens is not None and least > wish.max_tokens:
        raise ApiError(
            400, f"min_tokens: {least} is more than max_tokens, {wish.max_tokens}", param="min_tokens"
        )
    if asked.stream_options is not None and not asked.stream:
        raise ApiError(400, "stream_options needs stream: true", param="stream_options")
    if asked.stream and asked.prompt_logprobs is not None:
        raise ApiError(400, "prompt_logprobs does not come in streams", param="prompt_logprobs")


def make_asks(
    asked: Asked, wish: Wish, givens: Sequence[Given], window: int, choices: Choices = ()
) -> list[tuple[Given, Ask]]:
    """Return what is asked for each choice, prompt by prompt; `window` is the age's, in tokens.

    The n choices of a prompt differ by their seeds, which count up from the request's; so each prompt is
    answered as it would be alone. Raises ApiError when a prompt leaves no room.
    """
    seed = secrets.randbits(62) if asked.seed is None else asked.seed
    return [
        (given, make_ask(asked, wish, _room(wish, given, window, choices), (seed + which) % 2**63, choices))
        for given in givens
        for which in range(asked.n or 1)
    ]


def make_ask(asked: Asked, wish: Wish, max_tokens: int, seed: int, choices: Choices = ()) -> Ask:
    """Return what is asked for one choice; what was not said is as OpenAI has it."""
    stuck = asked.repetition_detection
    return Ask(
        max_tokens=max_tokens,
        temperature=1.0 if asked.temperature is None else asked.temperature,
        top_p=1.0 if asked.top_p is None else asked.top_p,
        top_k=asked.top_k or 0,
        min_p=asked.min_p or 0.0,
        repetition_penalty=1.0 if asked.repetition_penalty is None else asked.repetition_penalty,
        presence_penalty=asked.presence_penalty or 0.0,
        frequency_penalty=asked.frequency_penalty or 0.0,
        logit_bias=tuple((int(token_id), bias) for token_id, bias in (asked.logit_bias or {}).items()),
        stop=wish.stop,
        stop_token_ids=tuple(asked.stop_token_ids or ()),
        seed=seed,
        logprobs=wish.logprobs,
        prompt_logprobs=wish.prompt_logprobs,
        ignore_eos=bool(asked.ignore_eos),
        min_tokens=min(asked.min_tokens or 0, max_tokens),
        choices=tuple(map(tuple, choices)),
        repetition=None
        if stuck is None
        else Repetition(stuck.max_pattern_size, max(1, stuck.min_pattern_size), stuck.min_count),
        priority=asked.priority or 0,
    )


def _room(wish: Wish, given: Given, window: int, choices: Choices) -> int:
    """Return how many tokens may be drawn after this prompt."""
    prompt, least = len(given.ids), max(map(len, choices), default=1)
    room = window - prompt
    if not prompt:
        raise ApiError(400, "the prompt is empty; give at least one token", param=wish.prompt_name)
    if room < (0 if wish.max_tokens == 0 else 1):
        raise ApiError(
            400,
            f"This model's maximum context length is {window} tokens. However, your request has "
            f"{prompt} input tokens. Please reduce the length of the {wish.prompt_name}.",
            param=wish.prompt_name,
            code="context_length_exceeded",
        )
    tokens = room if wish.max_tokens is None else min(room, wish.max_tokens)
    if 0 < tokens < least:
        raise ApiError(
            400,
            f"the longest of the choices takes {least} tokens, and there is room for {tokens}",
            param="max_tokens" if tokens < room else wish.prompt_name,
        )
    return tokens
