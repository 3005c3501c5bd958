"""The tables: what was said, by whom, from which weights, and how to say it again.

    house        one row: this database's own id, the secret that hides people's ids, a counter
    checkpoint   an age that was registered here, with its card
    scene        one conversation
    message      a line as posted, numbered within its scene
    generation   a sample as the engine gave it, posted or not
    writing      a diary line, letter or continuation that a self wrote while it was being trained
    person       somebody on a platform: a keyed hash and a pseudonym, never the platform's own id

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
    pseudonym: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]


class SceneRow(Base):
    """One conversation."""

    __tablename__ = "scene"

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
    gone.
    """
    prompt_sha256: Mapped[str] = mapped_column(String(64))
    prompt_message_ids: Mapped[Any] = mapped_column(AnyJson)
    prompt_has_human: Mapped[bool]
    prompt_expires_at: Mapped[datetime | None]
    """When the first of the people's words in it must be gone."""
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
    generation_id: Mapped[int | None] = mapped_column(ForeignKey("generation.id"), unique=True)
    reply_to: Mapped[int | None] = mapped_column(ForeignKey("message.id"))
    nonce: Mapped[str] = mapped_column(String(NONCE_CHARACTERS), unique=True)
    place: Mapped[str]
    platform_id: Mapped[int | None] = mapped_column(BigInteger)
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
