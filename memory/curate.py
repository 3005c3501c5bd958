"""What editors do with what was said: they star, quote, tag and note it, and keep track of what they read.

Picks are a ledger: nothing in it is changed, a line that retracts another ends it. A quotation keeps the
sha256 of the characters it quotes, so that a text that was changed or erased since is noticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, cast

from sqlalchemy import delete, func, select

from memory.figures import Figures, make_figures, written_by_model
from memory.models import GenerationRow, MessageRow, PickRow, SceneRow, VisitRow
from memory.people import in_parts, read_messages
from memory.picked import EditedText, PickKind, in_scene, not_retracted, read_text
from selves.errors import StoreError, UsageError

if TYPE_CHECKING:
    from memory.store import Store

MARKS: tuple[PickKind, ...] = ("star", "quote", "tag", "note")


@dataclass(frozen=True, slots=True)
class Mark:
    """What an editor wants to say of a text."""

    kind: PickKind = "star"
    value: str | None = None
    """The tag, or the note."""
    quote: str | None = None
    """The words to quote, as they stand in the text; where they stand twice, the first."""
    span: tuple[int, int] | None = None
    """Or the characters from start to end."""


@dataclass(frozen=True, slots=True)
class Pick:
    """One line of the ledger."""

    id: int
    kind: PickKind
    message_id: int | None
    generation_id: int | None
    start: int | None
    end: int | None
    quoted_sha256: str | None
    value: str | None
    editor: str
    retracts: int | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Picked:
    """A pick that stands, with what it is about."""

    pick: Pick
    speaker: str | None
    address: str | None
    scene_id: int | None
    text: str
    """The quotation, or the whole text; empty when it was erased."""
    intact: bool
    """Whether a quotation still says what it said when it was picked."""
    figures: Figures
    """Of this text alone: who wrote it, and of how many samples it was the one."""


async def pick(
    store: Store,
    mark: Mark,
    *,
    editor: str,
    message_id: int | None = None,
    generation_id: int | None = None,
) -> Pick:
    """Note what an editor says of a message, or of a sample that became none; twice is once.

    Raises StoreError if there is no such text, UsageError when a quotation is not in it.
    """
    async with store.writing() as session:
        about = await read_text(session, message_id, generation_id)
        start, end = _span(mark, about.text) if mark.kind == "quote" else (None, None)
        digest = None if start is None else _digest(about.text[start:end])
        values = {
            "kind": mark.kind,
            "message_id": about.message_id,
            "generation_id": about.generation_id,
            "start": start,
            "end": end,
            "quoted_sha256": digest,
            "value": mark.value,
            "editor": editor,
        }
        same = select(PickRow).where(
            not_retracted(),
            *(
                getattr(PickRow, name).is_(None) if value is None else getattr(PickRow, name) == value
                for name, value in values.items()
            ),
        )
        row = await session.scalar(same)
        if row is None:
            row = PickRow(**values, at=store.clock())
            session.add(row)
            await session.flush()
        return _pick(row)


async def retract(store: Store, pick_id: int, *, editor: str) -> Pick:
    """End a pick; ending it again changes nothing. Raises StoreError if there is none with this id."""
    async with store.writing() as session:
        row = await session.get(PickRow, pick_id, with_for_update=True)
        if row is None or row.kind == "retract":
            raise StoreError(f"there is no pick {pick_id}", "`selves memory picks` lists them")
        ended = await session.scalar(select(PickRow).where(PickRow.retracts == pick_id))
        if ended is None:
            ended = PickRow(
                kind="retract",
                message_id=row.message_id,
                generation_id=row.generation_id,
                retracts=pick_id,
                editor=editor,
                at=store.clock(),
            )
            session.add(ended)
            await session.flush()
        return _pick(ended)


async def picks(
    store: Store,
    *,
    kind: PickKind | None = None,
    tag: str | None = None,
    editor: str | None = None,
    scene_id: int | None = None,
    last: int | None = None,
) -> list[Picked]:
    """Return the picks that stand in the order they were made, the newest `last` of them at most."""
    query = select(PickRow).where(PickRow.kind.in_(MARKS), not_retracted())
    if kind is not None:
        query = query.where(PickRow.kind == kind)
    if tag is not None:
        query = query.where(PickRow.kind == "tag", PickRow.value == tag)
    if editor is not None:
        query = query.where(PickRow.editor == editor)
    if scene_id is not None:
        query = query.where(in_scene(scene_id))
    async with store.reading() as session:
        rows = list(await session.scalars(query.order_by(PickRow.id.desc()).limit(last)))
        found = []
        for row in reversed(rows):
            about = await read_text(session, row.message_id, row.generation_id)
            found.append(_picked(_pick(row), about))
        return found


async def scene_figures(store: Store, scene_id: int) -> Figures:
    """Return a scene's figures: who wrote its lines and premise, and how many samples were drawn for the
    lines that were picked; with no picks, for the lines that were posted.

    Raises StoreError if there is no such scene.
    """
    async with store.reading() as session:
        scene = await session.get(SceneRow, scene_id)
        if scene is None:
            raise StoreError(f"there is no scene {scene_id}", "`selves memory scenes` lists them")
        rows = list(await session.scalars(select(MessageRow).where(MessageRow.scene_id == scene_id)))
        samples = dict(
            (
                await session.execute(
                    select(GenerationRow.id, GenerationRow.text).where(
                        GenerationRow.scene_id == scene_id, GenerationRow.error.is_(None)
                    )
                )
            ).all()
        )
        messages = await read_messages(session, rows)
        picked = await session.scalar(
            select(
                func.count(func.distinct(func.coalesce(PickRow.message_id, -PickRow.generation_id)))
            ).where(PickRow.kind.in_(("star", "quote")), not_retracted(), in_scene(scene_id))
        )
    model = sum(written_by_model(m.text, samples.get(m.generation_id or 0)) for m in messages)
    everything = sum(len(m.text) for m in messages) + len(scene.premise)
    return make_figures(
        model=model,
        human=everything - model,
        generated=len(samples),
        published=picked or sum(1 for m in messages if m.generation_id is not None),
    )


async def visit(store: Store, message_ids: Sequence[int], *, editor: str) -> int:
    """Note that an editor has read these messages; return how many were new. Unknown ids are left out."""
    new = 0
    async with store.writing() as session:
        for part in in_parts(sorted(set(message_ids))):
            known = list(await session.scalars(select(MessageRow.id).where(MessageRow.id.in_(part))))
            if not known:
                continue
            noted = await session.scalars(
                store.insert(VisitRow)
                .values([{"editor": editor, "message_id": i, "at": store.clock()} for i in known])
                .on_conflict_do_nothing()
                .returning(VisitRow.message_id)
            )
            new += len(list(noted))
    return new


async def unvisit(store: Store, message_ids: Sequence[int], *, editor: str) -> int:
    """Note that an editor wants to read these messages again; return how many that changes."""
    undone = 0
    async with store.writing() as session:
        for part in in_parts(sorted(set(message_ids))):
            gone = await session.scalars(
                delete(VisitRow)
                .where(VisitRow.editor == editor, VisitRow.message_id.in_(part))
                .returning(VisitRow.message_id)
            )
            undone += len(list(gone))
    return undone


def _span(mark: Mark, text: str) -> tuple[int, int]:
    if mark.span is not None:
        start, end = mark.span
        if not 0 <= start < end <= len(text):
            raise UsageError(
                f"there are no characters {start} to {end}", f"the text has {len(text)}, counted from 0"
            )
        return start, end
    start = text.find(mark.quote or "")
    if start < 0 or not mark.quote:
        raise UsageError(
            f"{mark.quote!r} does not stand in that text",
            "quote it as it is, or name its characters: --span START:END",
        )
    return start, start + len(mark.quote)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _pick(row: PickRow) -> Pick:
    return Pick(
        id=row.id,
        kind=cast(PickKind, row.kind),
        message_id=row.message_id,
        generation_id=row.generation_id,
        start=row.start,
        end=row.end,
        quoted_sha256=row.quoted_sha256,
        value=row.value,
        editor=row.editor,
        retracts=row.retracts,
        at=row.at,
    )


def _picked(pick: Pick, about: EditedText) -> Picked:
    text = about.text if pick.start is None else about.text[pick.start : pick.end]
    intact = pick.quoted_sha256 is None or _digest(text) == pick.quoted_sha256
    shown = text if intact else ""
    model = written_by_model(shown, about.sample)
    return Picked(
        pick=pick,
        speaker=about.speaker,
        address=about.address,
        scene_id=about.scene_id,
        text=shown,
        intact=intact,
        figures=make_figures(
            model=model,
            human=len(shown) - model,
            generated=about.siblings,
            published=1 if about.sample is not None else 0,
        ),
    )
