"""What is asked of the embedded engine for one sequence, and the pieces in which it answers. Pure values."""

from __future__ import annotations

from typing import Literal, NamedTuple

Finish = Literal["stop", "length", "repetition"]


class Repetition(NamedTuple):
    """When a sequence counts as stuck: one pattern of tokens, again and again at its end (vLLM's terms)."""

    max_pattern: int
    """The longest pattern looked for, in tokens."""
    min_pattern: int = 1
    min_count: int = 3
    """How often in a row."""


class Ask(NamedTuple):
    """How the tokens of one sequence are drawn."""

    max_tokens: int
    """0: none, which makes sense only with `prompt_logprobs`."""
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0 or -1: all tokens."""
    min_p: float = 0.0
    """Tokens less likely than this share of the likeliest one's probability are not drawn."""
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    """(token id, what is added to its logit) pairs."""
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    seed: int = 0
    logprobs: int | None = None
    """How many alternatives to score at each position; None: not even name the token."""
    prompt_logprobs: int | None = None
    """The same for the prompt's own tokens, which are then delivered first, as `PromptScores`."""
    ignore_eos: bool = False
    min_tokens: int = 0
    """Before these many, nothing ends the sequence but its window."""
    choices: tuple[tuple[int, ...], ...] = ()
    """If any: what is drawn is one of these token sequences, and then it ends."""
    repetition: Repetition | None = None
    priority: int = 0
    """Lower goes first where requests wait; people before scenes."""


class Scored(NamedTuple):
    """A token and its natural log-probability under the model, before temperature and penalties."""

    token_id: int
    logprob: float
    text: str = ""
    """Only filled in when logprobs were asked for."""


class PromptScores(NamedTuple):
    """The log-probabilities of a prompt's tokens, each given those before it."""

    tokens: tuple[Scored, ...]
    """All but the first, which nothing precedes."""
    alternatives: tuple[tuple[Scored, ...], ...]
    """For each of `tokens`, the likeliest ones at its position."""


class Piece(NamedTuple):
    """One drawn token, and the text that can be shown since the last one."""

    text: str
    token: Scored
    alternatives: tuple[Scored, ...] = ()
    finish: Finish | None = None
    stop: str | int | None = None
    """The stop string or stop token that ended it, if one did."""
