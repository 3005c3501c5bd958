"""Exports: a folder of rows with a card, recorded with all it was made of, so that it can be made again.

    exported = await export(store, Wanted(format="dpo", lineage="ember"), Path("pairs"))
    await export_again(store, exported.id, Path("the-same-pairs"))

What was made of words that are gone by now is not made again: forgetting a person marks the exports that
used their words as invalid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from memory.choosing import Chosen, choose, refused
from memory.datafiles import DataFiles, hashes
from memory.datasetcard import card
from memory.models import ExportItemRow, ExportRow, PersonRow
from memory.pages import PAGE
from memory.people import AT_ONCE
from memory.rendering import Rendered, render
from memory.spoilt import invalidate
from memory.wanted import Item, Wanted, to_item
from selves.errors import StoreError, UsageError
from selves.files import new_folder, sha256_file, write_file

if TYPE_CHECKING:
    from memory.store import Store

CARD = "README.md"
Progress = Callable[[int, int], None]
"""Told how much of how many items is done."""


@dataclass(frozen=True, slots=True)
class Exported:
    """An export as it is recorded."""

    id: int | None
    """None of one that was only counted."""
    format: str
    purpose: str
    rows: int
    summary: Mapping[str, Any]
    """Counts: rows by split, origins, basis, sources, ages, left_out, chosen_longer (of pairs)."""
    wanted: Mapping[str, Any]
    folder: str
    """Where it was written at the time."""
    files: Mapping[str, str]
    version: str
    created_at: datetime
    invalid_at: datetime | None = None
    invalid_reason: str | None = None


async def preview(store: Store, wanted: Wanted, progress: Progress | None = None) -> Exported:
    """Count what an export would hold, and what would be left out and why; nothing is written."""
    async with store.reading() as session:
        chosen = await choose(session, wanted)
        counts = _Counts(chosen)
        async for row in render(session, wanted, chosen.items, counts.skip):
            counts.add(row)
            _tell(progress, counts.items, len(chosen.items))
    return _exported(None, wanted, counts.summary(), "", {}, store.clock())


async def export(store: Store, wanted: Wanted, folder: Path, progress: Progress | None = None) -> Exported:
    """Write an export into a new folder, and record it.

    Raises UsageError if there is something in the folder's place, StoreError if there is nothing to export or
    a person was forgotten meanwhile, DiskError.
    """
    if folder.exists():
        raise UsageError(f"there is something at {folder} already", "name a folder that does not exist yet")
    created_at = store.clock()
    folder = folder.absolute()
    used: list[Item] = []
    with new_folder(folder) as partial:
        async with store.reading() as session:
            forgotten = await _forgotten(session)
            chosen = await choose(session, wanted)
            counts = _Counts(chosen)
            with DataFiles(partial, wanted, created_at) as files:
                async for row in render(session, wanted, chosen.items, counts.skip):
                    files.write(row)
                    used.extend(row.items)
                    counts.add(row)
                    _tell(progress, counts.items, len(chosen.items))
        summary = counts.summary()
        if not used:
            why = "".join(f"; {count} left out: {reason}" for reason, count in summary["left_out"].items())
            raise StoreError(
                f"there is nothing to export{why}",
                "`--dry-run` counts what there is; ask for less, or vote first",
            )
        version = _version()
        write_file(partial / CARD, card(wanted, summary, version=version, created_at=created_at))
        exported = _exported(None, wanted, summary, str(folder), hashes(partial), created_at)
        # recorded before the folder gets its name: a file that nobody knows of could not be called back
        exported = await _record(store, exported, used, forgotten)
        await _check_again(store, wanted, exported, used)
    _check_is_there(folder, exported)
    return exported


async def export_again(store: Store, export_id: int, folder: Path) -> Exported:
    """Write an export once more, byte for byte.

    Raises StoreError if it cannot be: it was made invalid, some of it may not be used any more, or this
    version of Selves writes it otherwise.
    """
    if folder.exists():
        raise UsageError(f"there is something at {folder} already", "name a folder that does not exist yet")
    anew = "make a new one with `selves memory export --format ...`"
    async with store.reading() as session:
        row = await session.get(ExportRow, export_id)
        if row is None:
            raise StoreError(f"there is no export {export_id}", "`selves memory exports` lists them")
        recorded = _from_row(row)
        if recorded.invalid_at is not None:
            since = f"{recorded.invalid_at:%Y-%m-%d}"
            raise StoreError(f"export {export_id} is invalid since {since}: {recorded.invalid_reason}", anew)
        if recorded.format == PAGE:
            raise StoreError(f"export {export_id} is a page of a book", "`selves book page` makes it anew")
        wanted = Wanted.model_validate(recorded.wanted)
        found = await session.scalars(
            select(ExportItemRow).where(ExportItemRow.export_id == export_id).order_by(ExportItemRow.position)
        )
        items = [to_item(item) for item in found]
        session.expunge_all()
        if why := await refused(session, wanted, items):
            raise StoreError(
                f"export {export_id} cannot be made again: some of it may not be used ({why})", anew
            )
        with new_folder(folder.absolute()) as partial:
            with DataFiles(partial, wanted, recorded.created_at) as files:
                async for made in render(session, wanted, items, lambda _: None):
                    files.write(made)
            text = card(wanted, recorded.summary, version=recorded.version, created_at=recorded.created_at)
            write_file(partial / CARD, text)
            if other := sorted(hashes(partial).items() ^ recorded.files.items()):
                version = _version()
                by = "" if version == recorded.version else f", by Selves {version}, not {recorded.version}"
                raise StoreError(
                    f"export {export_id} comes out otherwise: {other[0][0]} is not what it was{by}", anew
                )
    _check_is_there(folder, recorded)
    return recorded


async def exports(store: Store) -> list[Exported]:
    """Return all exports, the oldest first."""
    async with store.reading() as session:
        found = await session.scalars(select(ExportRow).order_by(ExportRow.id))
        return [_from_row(row) for row in found]


class _Counts:
    """Counts what goes into an export and what does not."""

    def __init__(self, chosen: Chosen) -> None:
        self.items = 0
        self._basis: Counter[str] = Counter()
        self._left_out = Counter(chosen.left_out)
        self._rows: Counter[str] = Counter()
        self._origins: Counter[str] = Counter()
        self._sources: Counter[str] = Counter()
        self._ages: Counter[str] = Counter()
        self._longer = 0

    def skip(self, reason: str) -> None:
        self.items += 1
        self._left_out[reason] += 1

    def add(self, row: Rendered) -> None:
        self.items += len(row.items)
        self._rows[row.split] += 1
        self._origins.update(row.origins)
        self._basis.update(basis for item in row.items if (basis := item.said("basis")))
        self._ages.update(row.ages)
        if isinstance(row.content, dict) and "rejected" in row.content:
            chosen, rejected = (row.content[name][0]["content"] for name in ("chosen", "rejected"))
            self._longer += len(chosen) > len(rejected)
        if source := row.items[0].said("source"):
            self._sources[f"{source}, {row.items[0].said('strength')}"] += 1

    def summary(self) -> dict[str, Any]:
        return {
            "rows": dict(sorted(self._rows.items(), reverse=True)),  # train before test
            "origins": _most_first(self._origins),
            "basis": _most_first(self._basis),
            "sources": _most_first(self._sources),
            "ages": dict(sorted(self._ages.items())),
            "left_out": _most_first(self._left_out),
            "chosen_longer": self._longer,
        }


def _most_first(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def _exported(
    export_id: int | None,
    wanted: Wanted,
    summary: Mapping[str, Any],
    folder: str,
    files: Mapping[str, str],
    created_at: datetime,
) -> Exported:
    return Exported(
        id=export_id,
        format=wanted.format,
        purpose=wanted.purpose,
        rows=sum(summary["rows"].values()),
        summary=summary,
        wanted=wanted.model_dump(mode="json"),
        folder=folder,
        files=files,
        version=_version(),
        created_at=created_at,
    )


def _from_row(row: ExportRow) -> Exported:
    return Exported(
        id=row.id,
        format=row.format,
        purpose=row.purpose,
        rows=row.rows,
        summary=row.request["summary"],
        wanted=row.request["wanted"],
        folder=row.request["folder"],
        files=row.files,
        version=row.version,
        created_at=row.created_at,
        invalid_at=row.invalid_at,
        invalid_reason=row.invalid_reason,
    )


async def _record(store: Store, exported: Exported, items: Sequence[Item], forgotten: int) -> Exported:
    async with store.writing() as session:
        if await _forgotten(session) != forgotten:
            raise StoreError(
                "a person was forgotten while this export was made", "run the same command again"
            )
        row = ExportRow(
            format=exported.format,
            purpose=exported.purpose,
            request={"wanted": exported.wanted, "summary": exported.summary, "folder": exported.folder},
            version=exported.version,
            rows=exported.rows,
            files=dict(exported.files),
            created_at=exported.created_at,
        )
        session.add(row)
        await session.flush()
        for start in range(0, len(items), AT_ONCE):
            values = [
                {"export_id": row.id, "position": position, **item._asdict()}
                for position, item in enumerate(items[start : start + AT_ONCE], start)
            ]
            await session.execute(insert(ExportItemRow), values)
        return _from_row(row)


async def _check_again(store: Store, wanted: Wanted, exported: Exported, items: Sequence[Item]) -> None:
    """What was deleted before the export was recorded could not call it back."""
    assert exported.id is not None
    async with store.reading() as session:
        why = await refused(session, wanted, items)
    if why:
        async with store.writing() as session:
            await invalidate(session, [exported.id], store.clock(), why)
        raise StoreError(
            f"something may not be used any more that was there when this export was begun ({why})",
            "run the same command again",
        )


def _check_is_there(folder: Path, exported: Exported) -> None:
    """A folder that somebody else made meanwhile stays as it is."""
    if not (folder / CARD).is_file() or sha256_file(folder / CARD) != exported.files[CARD]:
        raise UsageError(
            f"something came to be at {folder} while export {exported.id} was written",
            f"write it elsewhere: `selves memory export --again {exported.id} FOLDER`",
        )


async def _forgotten(session: AsyncSession) -> int:
    """How many people were forgotten so far."""
    return await session.scalar(select(func.count()).where(PersonRow.forgotten_at.is_not(None))) or 0


def _tell(progress: Progress | None, done: int, of: int) -> None:
    if progress is not None:
        progress(done, of)


def _version() -> str:
    return metadata.version("selves")
