"""How surprised an age is by each token that it drew: bits per token, asked of the engine that drew them."""

from __future__ import annotations

import math
from html import escape
from typing import Any, NamedTuple

import httpx

from memory.show import visible
from selves.errors import EngineError
from selves.speech import Utterance

FULL_BITS = 12.0
"""As surprising as can be shown."""
STRONGEST = 0.5
"""Opacity of what is most surprising, so that words stay readable on it."""
PATIENCE_S = 60.0


class Token(NamedTuple):
    """One drawn token, and how unlikely it was, before temperature and top-p."""

    text: str
    bits: float


async def surprises(url: str, api_key: str, utterance: Utterance) -> list[Token]:
    """Return the drawn tokens with their surprise. Raises EngineError when the engine cannot say."""
    if not utterance.token_ids:
        return []
    base = url.rstrip("/").removesuffix("/v1")
    key = api_key.split(",")[0].strip()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    prompt = utterance.prompt
    given: dict[str, Any] = {"model": utterance.address}
    if prompt.form == "transcript":
        given["prompt"] = prompt.text
    else:
        given["messages"] = [message.model_dump() for message in prompt.messages]
    try:
        async with httpx.AsyncClient(
            base_url=base, headers=headers, timeout=PATIENCE_S, trust_env=False
        ) as client:
            tokens = (await client.post("/tokenize", json=given)).raise_for_status().json()["tokens"]
            if not tokens:
                return []
            body = {
                "model": utterance.address,
                "prompt": [*tokens, *utterance.token_ids],
                "max_tokens": 0,
                "echo": True,
                "logprobs": 0,
            }
            answer = (await client.post("/v1/completions", json=body)).raise_for_status().json()
            scored = answer["choices"][0]["logprobs"]
            texts, logprobs = scored["tokens"][len(tokens) :], scored["token_logprobs"][len(tokens) :]
            return [
                Token(text, -logprob / math.log(2)) for text, logprob in zip(texts, logprobs, strict=True)
            ]
    except (httpx.HTTPError, LookupError, TypeError, ValueError) as error:
        raise EngineError(
            f"the engine at {base} does not say how surprised {utterance.address} is: {error}",
            "the plain words are still there; the engine's log says more",
        ) from error


def shade(tokens: list[Token]) -> str:
    """Return tokens as HTML, the redder the more surprising; the words themselves are escaped (pure)."""
    spans = []
    for token in tokens:
        strength = STRONGEST * min(max(token.bits, 0.0) / FULL_BITS, 1.0)
        words = escape(visible(token.text))
        style = f"background:rgba(200,80,40,{strength:.2f})"
        spans.append(f'<span style="{style}" title="{token.bits:.1f} bits">{words}</span>')
    return f'<div class="words">{"".join(spans)}</div>'
