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

Origin = Literal["self", "operator", "parlor", "discord", "interaction", "selfhosted", "imported"]
"""Where a message's words come from: a self, the operator, a person in the house's own terminal or web
parlor, a person on Discord, what somebody typed into a command or form there, a person on a server of one's
own that speaks Discord's protocol, or a file that was imported. What may be done with them follows from it,
and from what their author allowed (`memory/firewall.py`)."""

HUMAN_ORIGINS = ("parlor", "discord", "interaction", "selfhosted", "imported")

MessageStatus = Literal["pending", "posted", "undelivered", "deleted", "expired", "forgotten"]
"""`pending`: kept, and still to be posted. `posted`: it stands where people read it. `undelivered`: the
platform refused it for good, so nobody but the house ever saw it. `deleted`: the platform took it away.
`expired`: a person's words were erased because their time was up. `forgotten`: words were erased because
their author asked for it, or because they quoted somebody who did."""

SceneStatus = Literal["open", "ended"]
GenerationKind = str
"""`turn`, or the kind of a writing: `diary`, `letter`, `poem` ..."""


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
    from_message_id: int | None = None
    """The message that it branches off from: a thread, a fork, a continuation."""


@dataclass(frozen=True, slots=True)
class Message:
    """One line of a scene."""

    id: int
    scene_id: int
    sequence: int
    """1, 2, 3 ... within its scene, without gaps."""
    speaker: str
    """A self's name; `guest-N` for a person on a platform; any name in the parlor."""
    address: str | None
    """Which age spoke; None for people."""
    origin: Origin
    text: str
    """Empty when it was erased (the status says why) or cannot be opened (`shut`)."""
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
    person_id: int | None = None
    thread_id: int | None = None
    """The platform's id of the thread that begins at this message; a string in JSON."""
    shut: bool = False
    """Whether a person's words are there, and the key that opens them is not."""

    @property
    def human(self) -> bool:
        """Whether a person wrote it."""
        return self.origin in HUMAN_ORIGINS


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
    """None when it held a person's words that are gone or shut by now; its hash stays."""
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
    prompt_origins: tuple[str, ...] | None = ()
    """Where the words in the prompt come from that no self said; None when nobody named the messages."""


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
