"""What leaves the memory room: plain immutable values, never rows. Bots, book and app import them from
here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from selves.cast import SceneSpec
from selves.lineage import AgeCard
from selves.speech import Form, Prompt, Sampling, WritingKind

Origin = Literal["self", "operator", "parlor", "discord", "imported"]
"""Where a message's words come from. What may be trained on follows from it: `self` and `operator` yes,
`parlor` (a person in our own terminal or web room) under its own consent, `discord` never."""

MessageStatus = Literal["pending", "posted", "deleted", "expired"]
"""`pending`: kept, and still to be posted. `posted`: it stands where people read it. `deleted`: the platform
took it away. `expired`: a person's words were erased because their time was up."""

SceneStatus = Literal["open", "ended"]
GenerationKind = Literal["turn", "diary", "letter", "continuation"]


@dataclass(frozen=True, slots=True)
class Scene:
    """One conversation, played or being played."""

    id: int
    name: str
    kind: str
    key: str | None
    """What makes it single: beginning a scene with a known key gives this scene again."""
    place: str
    premise: str
    spec: SceneSpec
    status: SceneStatus
    stop_reason: str | None
    messages: int
    """How many messages it has; the newest has this sequence number."""
    turns: int
    """How many turns selves took, failed ones included."""
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Message:
    """One line of a scene."""

    id: int
    scene_id: int
    sequence: int
    """1, 2, 3 ... within its scene, without gaps."""
    speaker: str
    """A self's name; `guest-N` for a person on Discord; any name in the parlor."""
    address: str | None
    """Which age spoke; None for people."""
    origin: Origin
    text: str
    """Empty when it was erased (status `expired`, or `deleted` for a person's words)."""
    generation_id: int | None
    reply_to: int | None
    """Id of the message it answers."""
    nonce: str
    """Up to 25 characters, the same for ever: posting again with it posts nothing twice."""
    place: str
    platform_id: int | None
    """The platform's id (a Discord snowflake); a string in JSON."""
    status: MessageStatus
    created_at: datetime
    posted_at: datetime | None
    edited_at: datetime | None
    deleted_at: datetime | None
    expires_at: datetime | None
    """When a person's words are erased; None for words that may stay."""

    @property
    def human(self) -> bool:
        """Whether a person wrote it."""
        return self.origin in ("parlor", "discord")


@dataclass(frozen=True, slots=True)
class Generation:
    """A sample as the engine gave it, with all that is needed to repeat it."""

    id: int
    kind: GenerationKind
    address: str
    weights_sha256: str
    engine: str
    engine_version: str
    form: Form
    prompt: Prompt | None
    """None when it held a person's words that are gone by now; its hash stays."""
    prompt_sha256: str
    prompt_message_ids: tuple[int, ...]
    prompt_has_human: bool
    sampling: Sampling
    text: str
    token_ids: tuple[int, ...]
    finish_reason: str
    mean_logprob: float | None
    error: str | None
    started_at: datetime
    duration_s: float
    scene_id: int | None
    turn: int | None
    """The turn within its scene, 1, 2, 3 ...; generations of one turn are siblings."""
    speaker: str | None
    chosen: bool
    """Whether it became the turn's message; if not, it is a candidate."""


@dataclass(frozen=True, slots=True)
class StoredWriting:
    """A diary line, letter or continuation that a self wrote while it was being trained."""

    id: int
    address: str
    kind: WritingKind
    number: int
    to: str | None
    generation: Generation


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An age that this database knows."""

    id: int
    address: str
    card: AgeCard
    registered_at: datetime


@dataclass(frozen=True, slots=True)
class Provenance:
    """What produced a message."""

    message: Message
    scene: Scene
    generation: Generation | None
    """None for what no self said."""
    siblings: tuple[Generation, ...]
    """The other generations of the same turn."""
    checkpoint: Checkpoint | None
    """None when the age was never registered here."""


@dataclass(frozen=True, slots=True)
class Stats:
    """How much is kept."""

    ages: int
    writings: int
    scenes: int
    open_scenes: int
    messages: int
    by_origin: dict[str, int]
    unposted: int
    generations: int
    candidates: int
    """Generations of turns that did not become a message."""
    people: int
    size_bytes: int
    """What the database takes on disk."""
