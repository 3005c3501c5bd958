"""The base answers while data is made; each answer is kept, so a run that goes on asks nothing twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from selves.files import disk_error, sha256_text
from selves.speech import ChatMessage, Prompt, Sampling, seed_from
from training import generate
from training.generate import Speaker, say_together
from training.post import models
from training.post.models import Base
from training.post.rows import Message
from training.post.speaking import Stepper, listening, prompt_ids

MAX_TOKENS = 128
TEMPERATURE = 0.8
TOGETHER = 16
"""How many answers are drawn at once."""


class Drawn(NamedTuple):
    """One answer, by what it is drawn from."""

    prompt: Prompt
    number: int
    """Which of several answers to the same, from 0."""
    max_tokens: int

    @property
    def key(self) -> str:
        long = f" {self.max_tokens} tokens" if self.max_tokens != MAX_TOKENS else ""
        return self.prompt.sha256 + (f" {self.number}" if self.number else "") + long


def said_file(base: Base, seed: int) -> str:
    """Return the name of the file with what this base answered by this seed and in this way (pure)."""
    way = sha256_text(f"{base.age.card.weights_sha256} {seed} {MAX_TOKENS} {TEMPERATURE}")
    return f"said-{way[:16]}.jsonl"


class Asking:
    """Called with messages, returns what the base answers; the same messages always get the same answer.

    `many` lets it answer many at once, and each several times.
    """

    def __init__(self, base: Base, seed: int, path: Path) -> None:
        self.base, self.seed, self.path = base, seed, path
        self._model: Any = None
        self._said = dict(_read(path)) if path.exists() else {}

    def __call__(self, messages: Sequence[Message]) -> str:
        return self.many([messages])[0][0]

    def many(
        self, talks: Sequence[Sequence[Message]], samples: int = 1, max_tokens: int = 0
    ) -> list[list[str]]:
        """Return `samples` answers to each, each drawn by its own seed; the first is what a call gets."""
        most = max_tokens or MAX_TOKENS
        drawn = [[Drawn(_prompt(talk), n, most) for n in range(samples)] for talk in talks]
        wanted = {one.key: one for some in drawn for one in some}
        new = sorted((one for key, one in wanted.items() if key not in self._said), key=self._length)
        for at in range(0, len(new), TOGETHER):
            some = new[at : at + TOGETHER]
            self._keep({one.key: text for one, text in zip(some, self._ask(some), strict=True)})
        return [[self._said[one.key] for one in some] for some in drawn]

    def _length(self, one: Drawn) -> int:
        """What is about as long is read at once, so that hardly any of it is read a token at a time."""
        return len(prompt_ids(self.base.tokenizer, one.prompt))

    def _keep(self, said: dict[str, str]) -> None:
        self._said |= said
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(f"{json.dumps(pair)}\n" for pair in said.items())
        except OSError as error:
            raise disk_error(error, self.path) from error

    def _ask(self, some: Sequence[Drawn]) -> list[str]:
        if self._model is None:
            self._model = models.placed(models.load(self.base, self.seed))
        speaker = Speaker(Stepper(self._model), self.base.tokenizer, "", "")  # type: ignore[arg-type]
        with listening(self._model):
            said = say_together(speaker, [self._asked(one) for one in some], self.base.ends)
        return [one.text.strip() for one in said]

    def _asked(self, one: Drawn) -> generate.Asked:
        seed = seed_from("asking", self.seed, one.prompt.sha256, *([one.number] if one.number else []))
        sampling = Sampling(max_tokens=one.max_tokens, temperature=TEMPERATURE, seed=seed)
        return generate.Asked(one.prompt, prompt_ids(self.base.tokenizer, one.prompt), sampling)


def _prompt(talk: Sequence[Message]) -> Prompt:
    return Prompt(form="chat", messages=tuple(ChatMessage.model_validate(message) for message in talk))


def _read(path: Path) -> list[tuple[str, str]]:
    found = []
    for line in path.read_text("utf-8").splitlines():
        try:
            sha256, text = json.loads(line)
        except ValueError:  # cut off in the middle by a kill
            continue
        found.append((sha256, text))
    return found
