"""The tables: what was said, by whom, from which weights, and how to say it again.

    house        one row: this database's own id, the secret that hides people's ids, a counter
    checkpoint   an age that was registered here, with its card
    scene        one conversation
    message      a line as posted, numbered within its scene
    generation   a sample as the engine gave it, posted or not
    writing      a diary line, letter or continuation that a self wrote while it was being trained
    score        a figure about a sample: how much it repeats itself, how much of it is copied
    person       somebody on a platform: a keyed hash and a pseudonym, never the platform's own id
    person_key   what opens a person's words; without its row nobody can read them, in any copy
    heard_in     which prompts hold which of people's messages
    consent      the ledger: who allowed what, and when; the newest line counts
    permission   the ledger of what a platform allowed
    feedback     what people thought of samples: votes, reactions, regenerations, reports
    pick         the ledger of editors: stars, quotations, tags, notes
    visit        what an editor has read
    export       a file that was made of all this, and (export_item) of which rows
    lease        who among several processes may do something now, and until when
    state        small things that outlive a process: who sleeps, what a channel is set to
    spending     how many tokens were drawn on a day, for a self, in a channel

The words of people are sealed with a key of their own (`sealing.py`), so they are in no index. For what
selves and the operator said, `migrations/versions/0002_remembering.py` makes indices over words.

Every column that a later purpose needs (who may train on what, who may read what, until when) is filled
when the row is written, because it cannot be found out afterwards. Kinds and origins are plain text, so
that a new one needs no migration. A change here needs a new file in `migrations/versions`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, ForeignKey, Index, MetaData, String, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from memory.columns import AnyJson, AnyText, Id, Moment

NONCE_CHARACTERS = 25
"""As many as Discord allows."""


def _only(condition: str) -> dict[str, Any]:
    """Options for an index over only the rows that meet `condition`, on either database."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


def is_of_the_models(_thing: Any, name: str | None, *_: Any) -> bool:
    """Whether Alembic should compare something with the tables here; indices over words are made by hand."""
    return "_words" not in (name or "")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {str: AnyText, datetime: Moment, int: Id}


class HouseRow(Base):
    """One row, made with the database."""

    __tablename__ = "house"

    id: Mapped[int] = mapped_column(primary_key=True)
    house_id: Mapped[str] = mapped_column(String(32))
    """Random; part of every nonce, so that two houses in one channel never share one."""
    secret: Mapped[str] = mapped_column(String(64))
    """Random; the key of people's hashes."""
    guests: Mapped[int]
    """How many pseudonyms were given out."""


class CheckpointRow(Base):
    """One age. The same address with other weights (trained anew) is another row."""

    __tablename__ = "checkpoint"
    __table_args__ = (UniqueConstraint("address", "weights_sha256"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    address: Mapped[str]
    lineage: Mapped[str] = mapped_column(index=True)
    age: Mapped[str]
    stage: Mapped[str]
    step: Mapped[int]
    parent: Mapped[str | None]
    weights_sha256: Mapped[str] = mapped_column(String(64), index=True)
    card: Mapped[Any] = mapped_column(AnyJson)
    """AgeCard, whole."""
    created_at: Mapped[datetime]
    registered_at: Mapped[datetime]


class PersonRow(Base):
    """Somebody on a platform. Whoever holds only this table cannot tell who."""

    __tablename__ = "person"
    __table_args__ = (UniqueConstraint("platform", "user_hash"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    platform: Mapped[str]
    user_hash: Mapped[str] = mapped_column(String(64))
    """HMAC-SHA256 of the platform's user id under the house's secret."""
    """Random, and nobody's, once the person was forgotten."""
    pseudonym: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    forgotten_at: Mapped[datetime | None]


class PersonKeyRow(Base):
    """What opens a person's words. Never part of a backup: what was forgotten stays shut there too."""

    __tablename__ = "person_key"

    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(String(44))


class ConsentRow(Base):
    """A person allowed a purpose, or took that back. Nothing is allowed until it is. Append-only."""

    __tablename__ = "consent"

    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), index=True)
    purpose: Mapped[str]
    granted: Mapped[bool]
    notice: Mapped[str]
    """Which version of the privacy notice the person had seen."""
    via: Mapped[str]
    """Where it was said: a slash command, the command line, the parlor."""
    at: Mapped[datetime]


class PermissionRow(Base):
    """A platform allowed a purpose, or took that back: the operator's record of it. Append-only."""

    __tablename__ = "permission"

    id: Mapped[int] = mapped_column(primary_key=True)
    platform: Mapped[str]
    purpose: Mapped[str]
    granted: Mapped[bool]
    statement: Mapped[str]
    """Where and how it was said, in words that can be checked."""
    at: Mapped[datetime]


class SceneRow(Base):
    """One conversation."""

    __tablename__ = "scene"
    __table_args__ = (Index("ix_scene_branch", "from_message_id", **_only("from_message_id IS NOT NULL")),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(index=True)
    kind: Mapped[str]
    key: Mapped[str | None] = mapped_column(unique=True)
    place: Mapped[str]
    premise: Mapped[str]
    spec: Mapped[Any] = mapped_column(AnyJson)
    """SceneSpec, whole."""
    status: Mapped[str]
    stop_reason: Mapped[str | None]
    messages: Mapped[int]
    """The newest sequence number. Whoever adds a message counts it up first, and so holds the row's lock."""
    turns: Mapped[int]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    from_message_id: Mapped[int | None]
    """The message that it branches off from: a thread, a fork, a continuation."""


class GenerationRow(Base):
    """One sample, with all that is needed to repeat it."""

    __tablename__ = "generation"
    __table_args__ = (
        Index("ix_generation_scene_id_turn", "scene_id", "turn"),
        # what an expiry, an edit or a deletion must look through: only prompts that still hold a person's
        # words
        Index(
            "ix_generation_human_prompt",
            "prompt_expires_at",
            **_only("prompt_has_human AND prompt IS NOT NULL"),
        ),
        # what nobody's key shuts
        Index(
            "ix_generation_open_prompt",
            "id",
            **_only("prompt_has_human AND prompt IS NOT NULL AND prompt_sealed_by IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    address: Mapped[str] = mapped_column(index=True)
    weights_sha256: Mapped[str] = mapped_column(String(64))
    engine: Mapped[str]
    engine_version: Mapped[str]
    form: Mapped[str]
    prompt: Mapped[str | None]
    """The text to continue, or (form `chat`) its messages as JSON; NULL when a person's words in it are
    gone. One that was sealed with a forgotten person's key may stand here, shut for good.
    """
    prompt_sha256: Mapped[str] = mapped_column(String(64))
    prompt_message_ids: Mapped[Any] = mapped_column(AnyJson)
    prompt_has_human: Mapped[bool]
    prompt_expires_at: Mapped[datetime | None]
    """When the first of the people's words in it must be gone."""
    prompt_origins: Mapped[Any | None] = mapped_column(AnyJson)
    """Where the words in it come from that no self said: a sorted list of origins."""
    prompt_sealed_by: Mapped[Any | None] = mapped_column(AnyJson)
    """The people whose keys together open the prompt, in order; NULL when it is not sealed."""
    sampling: Mapped[Any] = mapped_column(AnyJson)
    seed: Mapped[int] = mapped_column(BigInteger)
    text: Mapped[str]
    token_ids: Mapped[Any] = mapped_column(AnyJson)
    finish_reason: Mapped[str]
    mean_logprob: Mapped[float | None]
    error: Mapped[str | None]
    started_at: Mapped[datetime]
    duration_s: Mapped[float]
    scene_id: Mapped[int | None] = mapped_column(ForeignKey("scene.id"))
    turn: Mapped[int | None]
    """Within its scene; the generations of one turn are siblings."""
    speaker: Mapped[str | None]
    chosen: Mapped[bool]
    """Whether it became the turn's message."""


class MessageRow(Base):
    """One line of a scene, written before it is posted."""

    __tablename__ = "message"
    __table_args__ = (
        UniqueConstraint("scene_id", "sequence"),
        # UNIQUE lets NULLs through, and most messages never have a platform id
        Index("uq_message_platform_id", "platform_id", unique=True, **_only("platform_id IS NOT NULL")),
        Index("ix_message_pending", "place", **_only("status = 'pending'")),
        Index("ix_message_people", "id", **_only("person_id IS NOT NULL")),
        Index(
            "ix_message_expiring",
            "expires_at",
            **_only("expires_at IS NOT NULL AND status = 'posted'"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    scene_id: Mapped[int] = mapped_column(ForeignKey("scene.id"))
    sequence: Mapped[int]
    speaker: Mapped[str]
    address: Mapped[str | None]
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"), index=True)
    origin: Mapped[str]
    text: Mapped[str]
    """A person's is sealed with the person's key."""
    generation_id: Mapped[int | None] = mapped_column(ForeignKey("generation.id"), unique=True)
    reply_to: Mapped[int | None] = mapped_column(ForeignKey("message.id"))
    nonce: Mapped[str] = mapped_column(String(NONCE_CHARACTERS), unique=True)
    place: Mapped[str]
    platform_id: Mapped[int | None] = mapped_column(BigInteger)
    thread_id: Mapped[int | None] = mapped_column(BigInteger)
    """The platform's id of the thread that begins at this message."""
    status: Mapped[str]
    created_at: Mapped[datetime]
    posted_at: Mapped[datetime | None]
    edited_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]


class WritingRow(Base):
    """Which generations are writings of an age, and which of a kind each is."""

    __tablename__ = "writing"
    __table_args__ = (UniqueConstraint("address", "weights_sha256", "kind", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    generation_id: Mapped[int] = mapped_column(ForeignKey("generation.id"), unique=True)
    address: Mapped[str]
    weights_sha256: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str]
    number: Mapped[int]
    addressee: Mapped[str | None]
    """A letter's: an address, or `future`."""


class HeardInRow(Base):
    """A person's message is in the prompt of a generation."""

    __tablename__ = "heard_in"

    message_id: Mapped[int] = mapped_column(ForeignKey("message.id"), primary_key=True)
    generation_id: Mapped[int] = mapped_column(ForeignKey("generation.id"), primary_key=True, index=True)


class ScoreRow(Base):
    """A figure about a sample."""

    __tablename__ = "score"

    generation_id: Mapped[int] = mapped_column(ForeignKey("generation.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float]


class FeedbackRow(Base):
    """What somebody thought of a sample, or of two."""

    __tablename__ = "feedback"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    """`vote`, `reaction`, `regenerated`, `best_of`, `reported`, `deleted`, or `shown` (only that it was)."""
    key: Mapped[str | None] = mapped_column(unique=True)
    """What makes it single: saying it again changes its value."""
    generation_id: Mapped[int] = mapped_column(ForeignKey("generation.id"), index=True)
    other_id: Mapped[int | None] = mapped_column(ForeignKey("generation.id"), index=True)
    """What it was compared with."""
    value: Mapped[str | None]
    """Of a vote: `first` (generation_id), `second` (other_id), `both` or `neither`; of a reaction: `up`,
    `down`.
    """
    shown_first: Mapped[int | None]
    """Which of the two generations stood first, or left."""
    blind: Mapped[bool]
    """Whether the voter could not see who said what, nor how others voted."""
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"), index=True)
    via: Mapped[str]
    """`discord`, `parlor`, `web`, `cli`, or the name of the rule that chose."""
    at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]


class PickRow(Base):
    """An editor's mark on a line or a sample. Append-only: a line that retracts another ends it."""

    __tablename__ = "pick"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    """`star`, `quote`, `tag`, `note`, or `retract`."""
    message_id: Mapped[int | None] = mapped_column(ForeignKey("message.id"), index=True)
    generation_id: Mapped[int | None] = mapped_column(ForeignKey("generation.id"), index=True)
    start: Mapped[int | None]
    end: Mapped[int | None]
    quoted_sha256: Mapped[str | None] = mapped_column(String(64))
    """Of the characters from start to end as they were."""
    value: Mapped[str | None]
    """The tag, or the note."""
    editor: Mapped[str]
    retracts: Mapped[int | None] = mapped_column(ForeignKey("pick.id"))
    at: Mapped[datetime]


class VisitRow(Base):
    """An editor has read a message."""

    __tablename__ = "visit"

    editor: Mapped[str] = mapped_column(primary_key=True)
    message_id: Mapped[int] = mapped_column(ForeignKey("message.id"), primary_key=True)
    at: Mapped[datetime]


class ExportRow(Base):
    """A file, or several, that were made of what is kept."""

    __tablename__ = "export"

    id: Mapped[int] = mapped_column(primary_key=True)
    format: Mapped[str]
    purpose: Mapped[str]
    request: Mapped[Any] = mapped_column(AnyJson)
    """All that was asked for: filters, split, options."""
    version: Mapped[str]
    """Of Selves, whose rules chose."""
    rows: Mapped[int]
    files: Mapped[Any] = mapped_column(AnyJson)
    """Name -> sha256."""
    created_at: Mapped[datetime]
    invalid_at: Mapped[datetime | None]
    invalid_reason: Mapped[str | None]


class ExportItemRow(Base):
    """One row of an export: which samples or lines it was made of."""

    __tablename__ = "export_item"

    export_id: Mapped[int] = mapped_column(ForeignKey("export.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    split: Mapped[str]
    generation_id: Mapped[int | None] = mapped_column(ForeignKey("generation.id"), index=True)
    """What it was made of; of a pair, the chosen one."""
    other_id: Mapped[int | None] = mapped_column(ForeignKey("generation.id"), index=True)
    """Of a pair, the rejected one."""
    message_id: Mapped[int | None] = mapped_column(ForeignKey("message.id"), index=True)
    detail: Mapped[Any | None] = mapped_column(AnyJson)
    """What else the row says: a label, a weight, where a pair comes from."""


class LeaseRow(Base):
    """Somebody alone may do something, until a moment that passes by itself when the process dies."""

    __tablename__ = "lease"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    until: Mapped[datetime]


class StateRow(Base):
    """A small thing that outlives a process. Nothing of a person: forgetting does not look here."""

    __tablename__ = "state"

    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[Any] = mapped_column(AnyJson)
    at: Mapped[datetime]


class SpendingRow(Base):
    """Tokens that were drawn on a day within a scope: all, a self, a channel."""

    __tablename__ = "spending"

    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    """As 2026-05-01."""
    scope: Mapped[str] = mapped_column(primary_key=True)
    tokens: Mapped[int]
