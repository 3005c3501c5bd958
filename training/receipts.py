"""What was published, as lines of JSON beside what it is of: one Receipt for each commit.

A commit stays readable under its tag and in the history after newer ones came, so none replaces another.

home/checkpoints/LINEAGE/published.jsonl     its ages
home/published.jsonl                         books, sites, data sets
.../deleted.jsonl                            beside each: what was taken off the Hub again
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationError

from selves.errors import HubError
from selves.files import write_file
from training.hub import Receipt

PUBLISHED_FILE = "published.jsonl"
DELETED_FILE = "deleted.jsonl"


Line = TypeVar("Line", bound=Receipt)


class Deleted(Receipt):
    """What was on the Hub, and when it was taken off."""

    deleted_at: datetime = Field(default_factory=lambda: datetime.now(UTC))


def read_receipts(folder: Path) -> list[Receipt]:
    """Return the receipts of a folder, the newest last. Raises HubError if damaged."""
    return _read(folder / PUBLISHED_FILE, Receipt)


def read_deleted(folder: Path) -> list[Deleted]:
    """Return what was of a folder and is not on the Hub any more. Raises HubError if damaged."""
    return _read(folder / DELETED_FILE, Deleted)


def _read(path: Path, kind: type[Line]) -> list[Line]:
    if not path.exists():
        return []
    try:
        return [kind.model_validate_json(line) for line in path.read_text("utf-8").splitlines()]
    except (ValidationError, UnicodeDecodeError) as error:
        raise HubError(
            f"{path} is damaged: {error}", "repair the line, or delete it and publish again"
        ) from error


def add_receipt(folder: Path, receipt: Receipt) -> None:
    """Keep a receipt, in place of one of the same commit. Raises DiskError."""
    _write(folder / PUBLISHED_FILE, [*_others(read_receipts(folder), receipt), receipt])


def move_to_deleted(folder: Path, receipt: Receipt) -> Deleted:
    """Note that what a receipt is of is gone. A crash in between leaves both. Raises DiskError."""
    gone = Deleted.model_validate(receipt.model_dump())
    _write(folder / DELETED_FILE, [*_others(read_deleted(folder), receipt), gone])
    _write(folder / PUBLISHED_FILE, _others(read_receipts(folder), receipt))
    return gone


def _others(receipts: Iterable[Line], receipt: Receipt) -> list[Line]:
    return [known for known in receipts if _of(known) != _of(receipt)]


def _write(path: Path, lines: Iterable[Receipt]) -> None:
    write_file(path, "".join(f"{line.model_dump_json()}\n" for line in lines))


def receipt_of(receipts: Iterable[Receipt], what: str, repo: str | None = None) -> Receipt | None:
    """Return the newest receipt of a thing, in this repository if one is named."""
    found = [r for r in receipts if r.what == what and repo in (None, r.repo)]
    return found[-1] if found else None


def _of(receipt: Receipt) -> tuple[str, ...]:
    return (receipt.what, receipt.endpoint, receipt.repo, receipt.kind, receipt.revision, receipt.commit)
