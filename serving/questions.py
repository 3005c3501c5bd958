"""What `Voice` asks for: a prompt and its sampling as the body of a request. Pure."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from selves.speech import Prompt, Sampling
from serving.heard import ModelInfo


class Priority(IntEnum):
    """Who goes first where requests wait: the lower."""

    PEOPLE = 0
    SCENES = 10
    DIARIES = 20


def who_goes_first(info: ModelInfo, priority: int) -> dict[str, int]:
    """Return the priority as it is asked for: only of servers of ours, since others may refuse it."""
    return {"priority": int(priority)} if priority and info.weights_sha256 else {}


def make_request(
    info: ModelInfo, prompt: Prompt, sampling: Sampling, priority: int
) -> tuple[str, dict[str, Any]]:
    """Return the path and body that ask for this, with everything that the record needs."""
    body: dict[str, Any] = {
        "model": info.address,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        # said, because vLLM would take it from the checkpoint otherwise, and the record would not know
        "top_k": 0,
        "repetition_penalty": sampling.repetition_penalty,
        "stop": list(sampling.stop),
        "seed": sampling.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_token_ids": True,
        **who_goes_first(info, priority),
    }
    if prompt.form == "chat":
        messages = [message.model_dump() for message in prompt.messages]
        return "/v1/chat/completions", {**body, "messages": messages, "logprobs": True, "top_logprobs": 0}
    return "/v1/completions", {**body, "prompt": prompt.text, "logprobs": 0}
