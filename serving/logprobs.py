"""Log-probabilities as OpenAI's two shapes and vLLM word them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from serving.asks import Piece, PromptScores, Scored

LOWEST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON does not have; vLLM's choice."""

Json = dict[str, Any]


class Given(NamedTuple):
    """One prompt as the model is given it."""

    ids: list[int]
    text: str = ""
    """As it is echoed."""
    first: str = ""
    """The text of its first token, which has no log-probability: nothing precedes it."""


class Place(NamedTuple):
    """One position of a sequence: its token, and the likeliest ones there."""

    token: Scored
    alternatives: Sequence[Scored]


def places(pieces: Sequence[Piece]) -> list[Place]:
    return [Place(piece.token, piece.alternatives) for piece in pieces]


def prompt_places(scores: PromptScores) -> list[Place]:
    """Return the positions of a prompt, from its second token on."""
    return [Place(token, others) for token, others in zip(scores.tokens, scores.alternatives, strict=True)]


def as_completion(places: Sequence[Place], *, offset: int = 0, first: str | None = None) -> Json:
    """Return the `logprobs` of a completion's choice, which start `offset` characters into its text.

    `first` is the text of a prompt's first token where the prompt is echoed.
    """
    texts = [*([] if first is None else [first]), *(place.token.text for place in places)]
    unscored: list[None] = [] if first is None else [None]
    offsets = [offset]
    for text in texts:
        offsets.append(offsets[-1] + len(text))
    return {
        "tokens": texts,
        "token_logprobs": [*unscored, *(finite(place.token.logprob) for place in places)],
        "top_logprobs": [
            *unscored,
            *(_by_text((*place.alternatives, place.token)) for place in places),
        ],
        "text_offset": offsets[:-1],
    }


def as_chat(places: Sequence[Place]) -> Json:
    """Return the `logprobs` of a chat's choice."""
    return {
        "content": [
            {**_named(place.token), "top_logprobs": [_named(scored) for scored in place.alternatives]}
            for place in places
        ],
        "refusal": None,
    }


def as_prompt(scores: PromptScores) -> list[Json | None]:
    """Return vLLM's `prompt_logprobs`: for each token of the prompt, token id -> what is known of it.

    The first is None. The rank of a token that is not among the alternatives is not known.
    """
    said: list[Json | None] = [None]
    for place in prompt_places(scores):
        ranks = {scored.token_id: rank for rank, scored in enumerate(place.alternatives, start=1)}
        said.append(
            {
                str(scored.token_id): {
                    "logprob": finite(scored.logprob),
                    "rank": ranks.get(scored.token_id),
                    "decoded_token": scored.text,
                }
                for scored in (place.token, *place.alternatives)
            }
        )
    return said


def _by_text(likeliest_first: Sequence[Scored]) -> dict[str, float]:
    """Return text -> log-probability; of tokens with one text (parts of a character), the likeliest."""
    said: dict[str, float] = {}
    for scored in likeliest_first:
        said.setdefault(scored.text, finite(scored.logprob))
    return said


def finite(logprob: float) -> float:
    return max(logprob, LOWEST_LOGPROB)


def _named(scored: Scored) -> Json:
    return {
        "token": scored.text,
        "logprob": finite(scored.logprob),
        "bytes": list(scored.text.encode("utf-8", "replace")),
    }
