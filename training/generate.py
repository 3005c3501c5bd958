"""A self says something while it is being trained: sampling with a cache, from one seed, touching nothing.

No global random state is read or moved, so training goes on as if nobody had asked.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor

from selves.speech import Prompt, Sampling, Utterance
from training.gpt import GPT


class Speaker(NamedTuple):
    """An age that can be asked: its weights, its tokens, and who it is."""

    model: GPT
    tokenizer: Tokenizer
    address: str
    weights_sha256: str


def say(
    speaker: Speaker, prompt: Prompt, ids: list[int], sampling: Sampling, ends: Collection[int]
) -> Utterance:
    """Return what the age says after token ids `ids` (what `prompt` is for it).

    It ends at a token of `ends`, before a stop string, at `sampling.max_tokens`, or when its window is full;
    where its weights are not numbers, the utterance says so.
    """
    started_at, clock = datetime.now(UTC), time.perf_counter()
    context = speaker.model.shape.context
    ids = ids[-(context - 1) :]
    source = torch.Generator().manual_seed(sampling.seed)
    drawn: list[int] = []
    logprobs: list[float] = []
    text = ""
    finish_reason: Literal["stop", "length", "error"] = "length"
    error: str | None = None
    with torch.no_grad():
        device = speaker.model.lm_head.weight.device
        logits, cache = speaker.model.step(torch.tensor([ids], device=device), None)
        for left in reversed(range(min(sampling.max_tokens, context - len(ids)))):
            if not bool(torch.isfinite(logits).all()):
                finish_reason, error = "error", "nothing can be drawn: its weights are no longer numbers"
                break
            token, logprob = draw(logits.cpu(), sampling, ids + drawn, source)
            drawn.append(token)
            logprobs.append(logprob)
            if token in ends:
                finish_reason = "stop"
                break
            text = speaker.tokenizer.decode(drawn, skip_special_tokens=True)
            cuts = [at for stop in sampling.stop if (at := text.find(stop)) >= 0]
            if cuts:
                text, finish_reason = text[: min(cuts)], "stop"
                break
            if left:
                logits, cache = speaker.model.step(torch.tensor([[token]], device=device), cache)
    return Utterance(
        address=speaker.address,
        weights_sha256=speaker.weights_sha256,
        engine="training",
        engine_version=torch.__version__,
        prompt=prompt,
        sampling=sampling,
        text=text,
        token_ids=tuple(drawn),
        finish_reason=finish_reason,
        mean_logprob=sum(logprobs) / len(logprobs) if logprobs else None,
        error=error,
        started_at=started_at,
        duration_s=time.perf_counter() - clock,
    )


def draw(
    logits: Tensor, sampling: Sampling, seen: Collection[int], source: torch.Generator
) -> tuple[int, float]:
    """Draw a token from logits (V,); return it and its natural log-probability before any shaping.

    Shaping is vLLM's: repetition penalty, then temperature, then the smallest set of tokens whose
    probability reaches top_p (Holtzman et al. 2020, arXiv:1904.09751).
    """
    logprobs = logits.log_softmax(-1)
    shaped = logits.clone()
    if sampling.repetition_penalty != 1.0:
        before = torch.tensor(sorted(set(seen)))
        values = shaped[before]
        penalty = sampling.repetition_penalty
        shaped[before] = torch.where(values > 0, values / penalty, values * penalty)
    if sampling.temperature == 0:
        token = int(shaped.argmax())
    else:
        chances, order = (shaped / sampling.temperature).softmax(-1).sort(descending=True, stable=True)
        chances[chances.cumsum(-1) - chances >= sampling.top_p] = 0
        token = int(order[torch.multinomial(chances, 1, generator=source)])
    return token, float(logprobs[token])
