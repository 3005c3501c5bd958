"""The base answers while data is made; each answer is kept, so a run that goes on asks nothing twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selves.files import disk_error, sha256_text
from selves.speech import ChatMessage, Prompt, Sampling, seed_from
from training.generate import Speaker, say
from training.post import models
from training.post.models import Base
from training.post.rows import Message
from training.post.speaking import Stepper, listening, prompt_ids

MAX_TOKENS = 128
TEMPERATURE = 0.8


def said_file(base: Base, seed: int) -> str:
    """Return the name of the file with what this base answered by this seed and in this way (pure)."""
    way = sha256_text(f"{base.age.card.weights_sha256} {seed} {MAX_TOKENS} {TEMPERATURE}")
    return f"said-{way[:16]}.jsonl"


class Asking:
    """Called with messages, returns what the base answers; the same messages always get the same answer."""

    def __init__(self, base: Base, seed: int, path: Path) -> None:
        self.base, self.seed, self.path = base, seed, path
        self._model: Any = None
        self._said = dict(_read(path)) if path.exists() else {}

    def __call__(self, messages: Sequence[Message]) -> str:
        prompt = Prompt(form="chat", messages=tuple(ChatMessage.model_validate(m) for m in messages))
        if prompt.sha256 not in self._said:
            self._said[prompt.sha256] = self._ask(prompt)
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([prompt.sha256, self._said[prompt.sha256]]) + "\n")
            except OSError as error:
                raise disk_error(error, self.path) from error
        return self._said[prompt.sha256]

    def _ask(self, prompt: Prompt) -> str:
        if self._model is None:
            self._model = models.load(self.base, self.seed)
        speaker = Speaker(Stepper(self._model), self.base.tokenizer, "", "")  # type: ignore[arg-type]
        seed = seed_from("asking", self.seed, prompt.sha256)
        sampling = Sampling(max_tokens=MAX_TOKENS, temperature=TEMPERATURE, seed=seed)
        with listening(self._model):
            said = say(speaker, prompt, prompt_ids(self.base.tokenizer, prompt), sampling, self.base.ends)
        return said.text.strip()


def _read(path: Path) -> list[tuple[str, str]]:
    found = []
    for line in path.read_text("utf-8").splitlines():
        try:
            sha256, text = json.loads(line)
        except ValueError:  # cut off in the middle by a kill
            continue
        found.append((sha256, text))
    return found
