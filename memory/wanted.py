"""What an export is asked for, and the rows of the database that it may be made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import Field, model_validator
from sqlalchemy import ColumnElement, Select, select

from memory.consent import Purpose
from memory.formats import OF_SCENES, Format
from memory.models import ExportItemRow, GenerationRow, MessageRow, SceneRow
from memory.preference import HUMAN_SOURCES, Source
from selves.speech import Frozen


class Wanted(Frozen):
    """All that decides what is in an export."""

    format: Format
    purpose: Purpose = "train"
    lineage: str | None = None
    age: str | None = None
    """An address, or the name of an age in any lineage."""
    scene_kind: str | None = None
    since: datetime | None = None
    """Samples and scenes that began at this moment or later."""
    until: datetime | None = None
    """Those that began before it."""
    sources: tuple[Source, ...] = HUMAN_SOURCES
    """Which feedback makes pairs and labels. Of `sft`, () takes every line that was posted."""
    test_share: float = Field(0.0, ge=0, lt=1)
    """How much of the scenes is put aside to test on."""
    parquet: bool = False
    limit: int | None = Field(None, ge=1)
    """At most so many rows."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Wanted:
        if self.format not in OF_SCENES and self.purpose != "train":
            raise ValueError(f"{self.format} is for training and nothing else")
        if self.format == "dce" and self.purpose == "train":
            raise ValueError("dce is to look at; `transcript` is what can be trained on")
        if self.format == "dce" and (self.parquet or self.test_share):
            raise ValueError("dce is one JSON file per scene: it has no split and no parquet")
        for moment in (self.since, self.until):
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"{moment} has no time zone")
        return self


class Item(NamedTuple):
    """What a row of an export, or a line of it, is made of: a row of `export_item`."""

    split: str
    generation_id: int | None = None
    other_id: int | None = None
    message_id: int | None = None
    detail: dict[str, Any] | None = None

    @property
    def generation_ids(self) -> tuple[int, ...]:
        return tuple(i for i in (self.generation_id, self.other_id) if i is not None)

    def said(self, name: str) -> Any:
        """A detail; None if there is none."""
        return (self.detail or {}).get(name)


def to_item(row: ExportItemRow) -> Item:
    return Item(row.split, row.generation_id, row.other_id, row.message_id, row.detail)


def of_samples(wanted: Wanted) -> list[ColumnElement[bool]]:
    """Return what a generation must be."""
    conditions = list(_of_address(wanted, GenerationRow.address))
    if wanted.since is not None:
        conditions.append(GenerationRow.started_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(GenerationRow.started_at < wanted.until)
    if wanted.scene_kind is not None:
        kinds = select(SceneRow.id).where(SceneRow.kind == wanted.scene_kind)
        conditions.append(GenerationRow.scene_id.in_(kinds))
    return conditions


def sample_ids(wanted: Wanted) -> list[Select[int]]:
    """Return a query of the ids of the generations that are asked for; [] if all are."""
    conditions = of_samples(wanted)
    return [select(GenerationRow.id).where(*conditions)] if conditions else []


def scene_ids(wanted: Wanted) -> Select[int]:
    """Return a query of the ids of the scenes that are asked for."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.since is not None:
        conditions.append(SceneRow.started_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(SceneRow.started_at < wanted.until)
    if wanted.scene_kind is not None:
        conditions.append(SceneRow.kind == wanted.scene_kind)
    spoken: Sequence[ColumnElement[bool]] = list(_of_address(wanted, MessageRow.address))
    if spoken:
        conditions.append(SceneRow.id.in_(select(MessageRow.scene_id).where(*spoken)))
    return select(SceneRow.id).where(*conditions)


def _of_address(wanted: Wanted, address: Any) -> Iterable[ColumnElement[bool]]:
    if wanted.lineage is not None:
        yield address.startswith(f"{wanted.lineage}@", autoescape=True)
    if wanted.age is not None and "@" in wanted.age:
        yield address == wanted.age
    elif wanted.age is not None:
        yield address.endswith(f"@{wanted.age}", autoescape=True)
