"""A self writes in the middle of training: a diary line, a letter to the age it will be, a poem, a dream.

Observer-free: whoever writes draws from a random source of its own, so the weights that come after are bit
for bit those of a run in which nobody wrote. An age's writings are stored with it before it is announced.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from tokenizers import Tokenizer

from selves.speech import Form, Prompt, Sampling, Writing, seed_from
from training import tokenizer as alphabet
from training.generate import Asked, Speaker, say_together
from training.kinds import Occasion, frame, kinds_of
from training.recipe import Diary

TOGETHER = 32
"""So many are written in one batch."""


class Life(Protocol):
    """What a recipe says of who writes, and what."""

    @property
    def lineage(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def diary(self) -> Diary: ...


class Pen(NamedTuple):
    """How an age is made to write."""

    speaker: Speaker
    form: Form
    tokens: Callable[[Prompt], list[int]]
    """A prompt's token ids, as the age's own tokenizer and template have them."""
    ends: Collection[int]
    """The tokens that end what it says."""
    name: str
    """What it is called in a transcript; "" where it never learned transcripts with names."""


def write(
    life: Life, speaker: Speaker, form: Form, occasion: Occasion = "age", parent: str | None = None
) -> list[Writing]:
    """Return all that an age of ours writes when it is kept; `parent` is the age it was before that."""
    tokenizer = speaker.tokenizer
    pen = Pen(
        speaker,
        form,
        lambda prompt: prepare(tokenizer, prompt)[0],
        [alphabet.token(tokenizer, alphabet.END)],
        alphabet.self_name(life.lineage),
    )
    with torch.inference_mode():
        return write_with(pen, life, [occasion], parent)


def write_with(
    pen: Pen, life: Life, occasions: Sequence[Occasion], parent: str | None, before: Sequence[Writing] = ()
) -> list[Writing]:
    """Return what is written at a moment, which may be several occasions at once: each kind once, that is.

    The seed names lineage, age, kind and number.

    All of it is written in one batch. What the same age wrote `before` is counted on from. Letters to the
    past need a `parent`.
    """
    asked: list[Asked] = []
    named: list[dict[str, Any]] = []
    for name, kind in kinds_of(life.diary).items():
        to = parent if kind.to == "past" else kind.to or None
        occasion = next((o for o in occasions if kind.fits(o)), None)
        if occasion is None or (kind.to == "past" and not parent):
            continue
        prompt = frame(kind, pen.form, pen.name)
        ids = pen.tokens(prompt)
        first = 1 + max((w.number for w in before if w.kind == name), default=-1)
        for number in range(first, first + life.diary.samples):
            sampling = Sampling(
                max_tokens=kind.tokens or life.diary.max_tokens,
                temperature=life.diary.temperature if kind.temperature is None else kind.temperature,
                stop=() if prompt.form == "chat" else kind.stop,
                seed=seed_from(life.lineage, life.seed, pen.speaker.address, name, number),
            )
            asked.append(Asked(prompt, ids, sampling))
            named.append({"kind": name, "occasion": occasion, "to": to, "number": number})
    said = [
        utterance
        for start in range(0, len(asked), TOGETHER)
        for utterance in say_together(pen.speaker, asked[start : start + TOGETHER], pen.ends)
    ]
    return [Writing(**which, utterance=what) for which, what in zip(named, said, strict=True)]


def prepare(tokenizer: Tokenizer, prompt: Prompt) -> tuple[list[int], list[int]]:
    """Return a prompt's token ids and the tokens that end the answer, as the age's own template has it."""

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False).ids

    ends = [alphabet.token(tokenizer, alphabet.END)]
    ids = [alphabet.token(tokenizer, alphabet.BOS)]
    if prompt.form == "transcript":
        return ids + encode(prompt.text), ends
    for message in prompt.messages:
        ids += alphabet.chat_turn(tokenizer, message.role, message.content)
    return [*ids, alphabet.token(tokenizer, alphabet.ASSISTANT)], ends
