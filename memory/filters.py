"""What a search is narrowed to, as facts that the indices know and as conditions on rows (pure)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, or_, select

from memory.index import Fact, months
from memory.models import GenerationRow, MessageRow, SceneRow, ScoreRow, VisitRow
from memory.picked import PickKind, standing
from memory.scores import Bound
from memory.types import HUMAN_ORIGINS, Origin
from selves.errors import UsageError

KINDS = (
    "line",
    "letter",
    "diary",
    "continuation",
    "letter-past",
    "portrait",
    "poem",
    "dream",
    "last-words",
    "candidate",
)
"""What a text is: a line of a scene; a letter, in a scene of letters or in a diary; what else a self wrote in
its diary; a sample that was not posted. Of diaries there may be kinds of the user's own beside these."""
SAID = KINDS[:-1]
"""What was said or written, and not only drawn; who asks for all of these asks for the user's kinds too."""
LETTERS = ("letter", "answer")
"""The kinds of scene in which letters are written."""

Condition = ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class Filters:
    """What a search is narrowed to; None is anything."""

    age: str | None = None
    """An address."""
    lineage: str | None = None
    stage: str | None = None
    scene_kind: str | None = None
    scene: int | None = None
    speaker: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Up to this moment, not with it."""
    kinds: tuple[str, ...] = SAID
    origin: Origin | None = None
    people: bool = False
    """Whether people's words are looked through too."""
    starred: bool = False
    tag: str | None = None
    unvisited_by: str | None = None
    """Only lines that this editor has not read."""
    scores: tuple[Bound, ...] = ()

    def check(self) -> None:
        """Raise UsageError when nothing could be found."""
        if self.since and self.until and self.since >= self.until:
            raise UsageError("`since` is not before `until`", "swap them")
        if self.origin in HUMAN_ORIGINS and not self.people:
            raise UsageError(
                f"words of origin {self.origin!r} are people's",
                "say --people, and they are opened one by one",
            )

    @property
    def written(self) -> list[str]:
        """The kinds of a diary that are looked for."""
        return [kind for kind in self.kinds if kind not in ("line", "candidate")]

    def with_kinds(self, own: Collection[str]) -> Filters:
        """Return the filters with the user's `own` kinds, if all of the others are looked for.

        Raises UsageError for a kind that there is not.
        """
        more = sorted(set(own) - set(KINDS))
        unknown = sorted(set(self.kinds) - {*KINDS, *more})
        if unknown:
            raise UsageError(
                f"nothing was ever written of kind {unknown[0]!r}", f"there are {', '.join((*KINDS, *more))}"
            )
        everything = set(SAID) <= set(self.kinds)
        return replace(self, kinds=tuple(dict.fromkeys((*self.kinds, *more)))) if everything else self

    @property
    def marks(self) -> list[tuple[PickKind, str | None]]:
        """Kind and value of the picks that must be on a text."""
        stars: list[tuple[PickKind, str | None]] = [("star", None)] if self.starred else []
        return stars if self.tag is None else [*stars, ("tag", self.tag)]

    @property
    def has_lines(self) -> bool:
        """Whether lines of selves and the operator may be among what is looked for."""
        return bool({"line", "letter"} & set(self.kinds)) and self.origin not in HUMAN_ORIGINS

    @property
    def has_samples(self) -> bool:
        """Whether writings or candidates may be; they are in no scene's transcript, so nobody visits them."""
        asked = bool(set(self.kinds) - {"line"})
        return asked and self.origin in (None, "self") and self.unvisited_by is None

    @property
    def has_people(self) -> bool:
        """Whether people's lines may be: no self said them, so they have no age and no scores."""
        if not self.people or self.age or self.lineage or self.stage or self.scores:
            return False
        return bool({"line", "letter"} & set(self.kinds)) and self.origin not in ("self", "operator")


def facts(filters: Filters, now: datetime, *, samples: bool) -> list[list[Fact]]:
    """Return what the index over words knows of the filters."""
    groups = [
        [Fact(letter, value)]  # type: ignore[arg-type]
        for letter, value in (("a", filters.age), ("l", filters.lineage), ("s", filters.speaker))
        if value is not None
    ]
    if samples and "candidate" not in filters.kinds:
        groups.append([Fact("k", kind) for kind in filters.written])
    if not samples and filters.origin is not None:
        groups.append([Fact("k", filters.origin)])
    groups.append(months(filters.since, filters.until, now))
    return [group for group in groups if group]


def of_lines(filters: Filters) -> list[Condition]:
    """Return the conditions on lines beside the facts."""
    found = _of_both(filters, MessageRow, MessageRow.created_at, MessageRow.generation_id)
    found += [MessageRow.id.in_(standing(*mark, "message")) for mark in filters.marks]
    letters = _scenes(MessageRow, LETTERS)
    if "letter" not in filters.kinds:
        found.append(~letters)
    elif "line" not in filters.kinds:
        found.append(letters)
    if filters.unvisited_by is not None:
        read = exists().where(VisitRow.message_id == MessageRow.id, VisitRow.editor == filters.unvisited_by)
        found.append(~read)
    return found


def facts_of(filters: Filters, row: type[MessageRow] | type[GenerationRow]) -> list[Condition]:
    """Return the facts as conditions, for what is not looked up in the index."""
    found: list[Condition] = []
    if filters.age is not None:
        found.append(row.address == filters.age)
    if filters.lineage is not None:
        found.append(row.address.startswith(f"{filters.lineage}@", autoescape=True))
    if filters.speaker is not None:
        found.append(row.speaker == filters.speaker)
    if filters.origin is not None and row is MessageRow:
        found.append(MessageRow.origin == filters.origin)
    return found


def of_samples(filters: Filters) -> list[Condition]:
    """Return the conditions on writings and candidates beside the facts."""
    found = _of_both(filters, GenerationRow, GenerationRow.started_at, GenerationRow.id)
    found += [GenerationRow.id.in_(standing(*mark, "generation")) for mark in filters.marks]
    written = and_(GenerationRow.turn.is_(None), GenerationRow.kind.in_(filters.written))
    found.append(or_(GenerationRow.turn.is_not(None), written) if "candidate" in filters.kinds else written)
    return found


def _of_both(filters: Filters, row: Any, at: Any, generation_id: Any) -> list[Condition]:
    found: list[Condition] = []
    if filters.stage is not None:
        found.append(row.address.contains(f"@{filters.stage}-", autoescape=True))
    if filters.scene_kind is not None:
        found.append(_scenes(row, [filters.scene_kind]))
    if filters.scene is not None:
        found.append(row.scene_id + 0 == filters.scene)
    if filters.since is not None:
        found.append(at >= filters.since)
    if filters.until is not None:
        found.append(at < filters.until)
    for bound in filters.scores:
        value = ScoreRow.value >= bound.value if bound.least else ScoreRow.value <= bound.value
        found.append(
            exists().where(ScoreRow.generation_id == generation_id, ScoreRow.name == bound.name, value)
        )
    return found


def _scenes(row: Any, kinds: Sequence[str]) -> Condition:
    # a sum has no index, so that neither database begins with the scenes
    scenes: Condition = (row.scene_id + 0).in_(select(SceneRow.id).where(SceneRow.kind.in_(kinds)))
    return scenes
