"""A self says something while it is being trained: sampling with a cache, from one seed, touching nothing.

No global random state is read or moved, so training goes on as if nobody had asked.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
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


class Asked(NamedTuple):
    """What an age is to go on from, as words and as token ids, and how it is drawn."""

    prompt: Prompt
    ids: list[int]
    sampling: Sampling


def say(
    speaker: Speaker, prompt: Prompt, ids: list[int], sampling: Sampling, ends: Collection[int]
) -> Utterance:
    """Return what the age says after token ids `ids` (what `prompt` is for it).

    It ends at a token of `ends`, before a stop string, at `sampling.max_tokens`, or when its window is full;
    where its weights are not numbers, the utterance says so.
    """
    return say_together(speaker, [Asked(prompt, ids, sampling)], ends)[0]


def say_together(speaker: Speaker, asked: Sequence[Asked], ends: Collection[int]) -> list[Utterance]:
    """Return what the age says to each, as `say` does; all in one batch, each from its own seed.

    All read a token at a time from where the shortest prompt ends: those that still have some of their own
    prompt read that, the others what they drew. So every row is as long as the others, and nothing is padded.
    """
    if not asked:
        return []
    voices = [_Voice(speaker, one, ends) for one in asked]
    device = speaker.model.lm_head.weight.device
    position = min(len(voice.ids) for voice in voices)
    with torch.no_grad():
        rows = torch.tensor([voice.ids[:position] for voice in voices], device=device)
        logits, cache = speaker.model.step(rows, None)
        while True:
            for voice, row in zip(voices, logits.cpu(), strict=True):
                voice.go_on(row, position)
            if all(voice.silent for voice in voices):
                break
            rows = torch.tensor([[voice.token_at(position)] for voice in voices], device=device)
            logits, cache = speaker.model.step(rows, cache)
            position += 1
    return [voice.utterance() for voice in voices]


class _Voice:
    """One row of a batch: what it reads, what it said so far, and whether it has ended."""

    def __init__(self, speaker: Speaker, asked: Asked, ends: Collection[int]) -> None:
        context = speaker.model.shape.context
        self.ids = asked.ids[-(context - 1) :]
        self.silent = False
        self._speaker, self._asked, self._ends = speaker, asked, ends
        self._most = min(asked.sampling.max_tokens, context - len(self.ids))
        self._source = torch.Generator().manual_seed(asked.sampling.seed)
        self._started_at, self._clock, self._took_s = datetime.now(UTC), time.perf_counter(), 0.0
        self._drawn: list[int] = []
        self._logprobs: list[float] = []
        self._text = ""
        self._finish_reason: Literal["stop", "length", "error"] = "length"
        self._error: str | None = None

    def token_at(self, position: int) -> int:
        """Return what it reads there; anything, once it has ended."""
        own = [*self.ids, *self._drawn]
        return own[position] if position < len(own) else own[-1]

    def go_on(self, logits: Tensor, position: int) -> None:
        """Draw a token from logits (V,), which follow `position` tokens, if its prompt is read by then."""
        if self.silent or position < len(self.ids):
            return
        if not bool(torch.isfinite(logits).all()):
            self._error = "nothing can be drawn: its weights are no longer numbers"
            self._end("error")
            return
        token, logprob = draw(logits, self._asked.sampling, self.ids + self._drawn, self._source)
        self._drawn.append(token)
        self._logprobs.append(logprob)
        if token in self._ends:
            self._end("stop")
            return
        self._text = self._speaker.tokenizer.decode(self._drawn, skip_special_tokens=True)
        cuts = [at for stop in self._asked.sampling.stop if (at := self._text.find(stop)) >= 0]
        if cuts:
            self._text = self._text[: min(cuts)]
            self._end("stop")
        elif len(self._drawn) == self._most:
            self._end("length")

    def _end(self, why: Literal["stop", "length", "error"]) -> None:
        self.silent, self._finish_reason = True, why
        self._took_s = time.perf_counter() - self._clock

    def utterance(self) -> Utterance:
        """Return what was said."""
        return Utterance(
            address=self._speaker.address,
            weights_sha256=self._speaker.weights_sha256,
            engine="training",
            engine_version=torch.__version__,
            prompt=self._asked.prompt,
            sampling=self._asked.sampling,
            text=self._text,
            token_ids=tuple(self._drawn),
            finish_reason=self._finish_reason,
            mean_logprob=sum(self._logprobs) / len(self._logprobs) if self._logprobs else None,
            error=self._error,
            started_at=self._started_at,
            duration_s=self._took_s,
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
