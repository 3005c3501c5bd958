"""What may be done with words: one table, asked before anything is exported, printed or trained on.

    whose words                            to train on
    a self's own samples                   yes, if no person's words are behind them, or those may
    the operator's                         yes
    a person's in the parlor, or on a      if they allowed it
      server of one's own
    a person's on Discord, or imported     if they allowed it, and the platform's permission is recorded
    a line that a person edited, a sample  never
      that was reported or deleted

Discord's developer policy (rule 21) forbids training on message content unless Discord expressly permits it:
a person's own consent is not enough there. Publishing and diaries need the author's consent alone. What a
self said after reading a person's words is published, or learned, only if these may be, since selves repeat
what they read; `hearsay.py` finds those that came to it by way of others. Who was forgotten allows nothing.
A vote or a reaction is a label on a sample: it goes wherever the sample may, without saying whose it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from memory.consent import Consents, Purpose, consents_of, permissions
from memory.models import FeedbackRow, GenerationRow, HeardInRow, MessageRow, PersonRow
from memory.people import in_parts
from memory.rows import EXPIRING_ORIGINS
from memory.types import HUMAN_ORIGINS, Origin, Scene

UNWANTED = ("reported", "deleted")
"""Kinds of feedback after which a sample is never used."""
UNSEEN = ("deleted", "undelivered")
"""States of lines that their platform took away, or never took: their samples are not used either."""


class Verdict(NamedTuple):
    """Whether something may be done, and why (not)."""

    allowed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where words come from, what their author said of them, and what the platform did."""

    origin: Origin
    said: Mapping[Purpose, bool] = field(default_factory=dict)
    """What the author last said; what was never spoken of is missing."""
    permitted: frozenset[Purpose] = frozenset()
    """What the platform permits, as the operator recorded it."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that decides about a line or a sample."""

    source: Source
    read: tuple[Source, ...] = ()
    """People's words that were in the prompt."""
    read_unknown: bool = False
    """Whether there were some that nobody knows the author of."""
    addressed: bool = False
    """Whether a person said it to a self: it may be answered."""
    edited: bool = False
    """Whether a person changed what a self said."""
    unwanted: bool = False
    """Whether it was reported, or deleted where it was posted."""
    erased: bool = False
    """Whether its words are gone."""


def verdict(purpose: Purpose, facts: Facts) -> Verdict:
    """Return whether a line or a sample may be used for a purpose, by the table at the top of this file."""
    outward = purpose in ("diary", "publish", "train")
    if facts.erased:
        return Verdict(False, "its words are gone")
    if outward and facts.unwanted:
        return Verdict(False, "it was reported or deleted")
    if outward and facts.edited:
        return Verdict(False, "a person edited it")
    own = _of_source(purpose, facts.source, addressed=facts.addressed)
    if not own.allowed or purpose not in ("publish", "train"):
        return own
    if facts.read_unknown:
        return Verdict(False, "its prompt holds a person's words, and nobody knows whose")
    for source in facts.read:
        read = _of_source(purpose, source, addressed=False)
        if not read.allowed:
            return Verdict(False, f"its prompt holds {read.reason}")
    return own


def _of_source(purpose: Purpose, source: Source, *, addressed: bool) -> Verdict:
    origin = source.origin
    if origin not in HUMAN_ORIGINS:
        return Verdict(True, "no person said it")
    said = source.said.get(purpose)
    if purpose == "store" and said is None and origin not in EXPIRING_ORIGINS:
        return Verdict(True, "it stays until it is taken back")
    if purpose == "context" and said is None and (addressed or origin == "parlor"):
        return Verdict(True, "it was said to a self")
    if not said:
        return Verdict(False, f"a person's words ({origin}) without their consent to {purpose}")
    if purpose == "train" and origin not in ("parlor", "selfhosted") and "train" not in source.permitted:
        return Verdict(False, f"a person's words ({origin}), and the platform does not permit training")
    return Verdict(True, f"its author allowed to {purpose} it")


def for_everybody(scene: Scene) -> Scene:
    """Return a scene as everybody may see it: not with a channel's name and topic, which others wrote."""
    if not scene.place.startswith("imported:"):
        return scene
    spec = scene.spec.model_copy(update={"name": scene.kind, "premise": ""})
    return replace(scene, name=scene.kind, premise="", spec=spec)


async def facts_of_generations(session: AsyncSession, ids: Sequence[int]) -> dict[int, Facts]:
    """Return what decides about samples, by id."""
    facts: dict[int, Facts] = {}
    permitted = await permissions(session)
    for part in in_parts(dict.fromkeys(ids)):
        read, known = await _read_by(session, part, permitted), GenerationRow.id.in_(part)
        lines = await session.execute(
            select(MessageRow.generation_id, MessageRow.status, MessageRow.edited_at).where(
                MessageRow.generation_id.in_(part)
            )
        )
        posted = {generation_id: (status, edited_at) for generation_id, status, edited_at in lines}
        unwanted = set(
            await session.scalars(
                select(FeedbackRow.generation_id).where(
                    FeedbackRow.generation_id.in_(part),
                    FeedbackRow.kind.in_(UNWANTED),
                    FeedbackRow.withdrawn_at.is_(None),
                )
            )
        )
        rows = await session.execute(
            select(GenerationRow.id, GenerationRow.text == "", GenerationRow.prompt_has_human).where(known)
        )
        for row_id, empty, has_human in rows:
            status, edited_at = posted.get(row_id, ("", None))
            facts[row_id] = Facts(
                source=Source("self"),
                read=tuple(read[row_id]),
                read_unknown=has_human and not read[row_id],
                edited=edited_at is not None,
                unwanted=status in UNSEEN or row_id in unwanted,
                erased=empty or status == "forgotten",
            )
    return facts


async def _read_by(
    session: AsyncSession, ids: Sequence[int], permitted: Mapping[str, Consents]
) -> dict[int, list[Source]]:
    """Whose words were in the prompts of these samples."""
    found = await session.execute(
        select(HeardInRow.generation_id, MessageRow.origin, MessageRow.person_id, PersonRow.platform)
        .join(MessageRow, MessageRow.id == HeardInRow.message_id)
        .outerjoin(PersonRow, PersonRow.id == MessageRow.person_id)
        .where(HeardInRow.generation_id.in_(ids))
        .distinct()
        .order_by(HeardInRow.generation_id, MessageRow.person_id)
    )
    rows = found.all()
    said = await consents_of(session, {person_id for _, _, person_id, _ in rows if person_id is not None})
    read: dict[int, list[Source]] = defaultdict(list)
    for generation_id, origin, person_id, platform in rows:
        read[generation_id].append(_source(origin, said.get(person_id or 0, {}), platform, permitted))
    return read


def _source(origin: str, said: Consents, platform: str | None, permitted: Mapping[str, Consents]) -> Source:
    of_platform = permitted.get(platform or origin, {})
    return Source(
        cast(Origin, origin), said, frozenset(purpose for purpose, granted in of_platform.items() if granted)
    )


async def facts_of_messages(session: AsyncSession, ids: Sequence[int]) -> dict[int, Facts]:
    """Return what decides about lines, by id; of a self's line also what decides about its sample."""
    facts: dict[int, Facts] = {}
    permitted = await permissions(session)
    for part in in_parts(dict.fromkeys(ids)):
        found = await session.execute(
            select(
                MessageRow.id,
                MessageRow.origin,
                MessageRow.person_id,
                PersonRow.platform,
                MessageRow.generation_id,
                MessageRow.status,
                MessageRow.edited_at,
                MessageRow.text == "",
            )
            .outerjoin(PersonRow, PersonRow.id == MessageRow.person_id)
            .where(MessageRow.id.in_(part))
        )
        rows = found.all()
        said = await consents_of(session, {row.person_id for row in rows if row.person_id is not None})
        of_samples = await facts_of_generations(session, [r.generation_id for r in rows if r.generation_id])
        for row_id, origin, person_id, platform, generation_id, status, edited_at, empty in rows:
            source = _source(origin, said.get(person_id or 0, {}), platform, permitted)
            human = origin in HUMAN_ORIGINS
            sample = of_samples.get(generation_id or 0, Facts(source))
            facts[row_id] = replace(
                sample,
                source=source,
                edited=edited_at is not None and not human,
                unwanted=sample.unwanted or status in UNSEEN,
                erased=empty or status in ("expired", "forgotten"),
            )
    return facts
