"""A thing said: the prompt it answers, how it was sampled, and the record of what came back.

These types cross every wall: serving makes them, memory keeps them, training writes them into an age's
diary, bots and the book read them. An `Utterance` holds all that is needed to say it again.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Form = Literal["transcript", "chat"]
"""How a self is spoken to: `transcript` is plain text to be continued (base ages), `chat` is messages put
through the checkpoint's chat template."""


class Frozen(BaseModel):
    """Base of all the house's value types: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ChatMessage(Frozen):
    """One message of a chat prompt, as the OpenAI API has it."""

    role: Literal["system", "user", "assistant"]
    content: str


class Prompt(Frozen):
    """What a model is given: either `text` to continue, or `messages` for its chat template."""

    form: Form
    text: str = ""
    messages: tuple[ChatMessage, ...] = ()
    message_ids: tuple[int, ...] = ()
    """The stored messages that are in it, oldest first."""
    has_human: bool = False
    """Whether any of it was written by a person; such generations are kept out of training data."""

    @property
    def sha256(self) -> str:
        """Hash of what the model is given: the same for the same text or messages."""
        body = self.text if self.form == "transcript" else [(m.role, m.content) for m in self.messages]
        return hashlib.sha256(json.dumps([self.form, body]).encode()).hexdigest()


class Sampling(Frozen):
    """How tokens are drawn. `temperature` 0 is greedy."""

    max_tokens: int = Field(80, ge=1)
    temperature: float = Field(0.8, ge=0, le=5)
    top_p: float = Field(0.95, gt=0, le=1)
    repetition_penalty: float = Field(1.0, ge=0.5, le=3)
    """vLLM's meaning: logits of tokens already in the prompt or answer are divided (or multiplied) by it."""
    stop: tuple[str, ...] = ()
    """The text ends before the first of these; they are not part of it."""
    seed: int = Field(0, ge=0, lt=2**63)


class Utterance(Frozen):
    """One generation as the engine gave it, whether it was posted or not.

    A failed turn is data too: then `error` says what happened and `text` is what had come so far.
    """

    address: str
    weights_sha256: str
    engine: str
    """`training`, `embedded` or `vllm`."""
    engine_version: str
    prompt: Prompt
    sampling: Sampling
    text: str
    token_ids: tuple[int, ...] = ()
    finish_reason: Literal["stop", "length", "error", "cancelled"] = "stop"
    mean_logprob: float | None = None
    """Mean natural log-probability of the drawn tokens under the model before temperature and top-p."""
    error: str | None = None
    started_at: datetime
    duration_s: float = 0.0


WRITING_KIND_PATTERN = r"[a-z][a-z0-9]{0,30}(-[a-z0-9]{1,30})?"
WritingKind = Annotated[str, StringConstraints(pattern=rf"^{WRITING_KIND_PATTERN}$")]
"""`diary`, `letter`, `poem` ... : the house's are in training/kinds.toml, and users add their own."""


class Writing(Frozen):
    """Something a self wrote of its own accord; a line of `diary.jsonl` in its age's or lineage's folder."""

    kind: WritingKind
    occasion: str = ""
    """When it was written: `birth`, `age`, `last`, `before`, `after`, `spike` ... (training/kinds.py)."""
    to: str | None = None
    """A letter's addressee: an address, or `future` for the next age that will exist."""
    number: int = 0
    """Which sample of this kind this is, from 0."""
    utterance: Utterance


def seed_from(*parts: object) -> int:
    """Derive a seed below 2**31 from anything that names the occasion; the same parts give the same seed."""
    digest = hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
