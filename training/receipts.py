"""What was published, as lines of JSON beside what it is of: one Receipt for each commit.

A commit stays readable under its tag and in the history after newer ones came, so none replaces another.

home/checkpoints/LINEAGE/published.jsonl     its ages
home/published.jsonl                         books, sites, data sets
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from selves.errors import HubError
from selves.files import write_file
from training.hub import Receipt

PUBLISHED_FILE = "published.jsonl"


def read_receipts(folder: Path) -> list[Receipt]:
    """Return the receipts of a folder, the newest last. Raises HubError if damaged."""
    path = folder / PUBLISHED_FILE
    if not path.exists():
        return []
    try:
        return [Receipt.model_validate_json(line) for line in path.read_text("utf-8").splitlines()]
    except (ValidationError, UnicodeDecodeError) as error:
        raise HubError(
            f"{path} is damaged: {error}", "repair the line, or delete it and publish again"
        ) from error


def add_receipt(folder: Path, receipt: Receipt) -> None:
    """Keep a receipt, in place of one of the same commit. Raises DiskError."""
    kept = [known for known in read_receipts(folder) if _of(known) != _of(receipt)]
    write_file(folder / PUBLISHED_FILE, "".join(f"{r.model_dump_json()}\n" for r in (*kept, receipt)))


def receipt_of(receipts: Iterable[Receipt], what: str, repo: str | None = None) -> Receipt | None:
    """Return the newest receipt of a thing, in this repository if one is named."""
    found = [r for r in receipts if r.what == what and repo in (None, r.repo)]
    return found[-1] if found else None


def _of(receipt: Receipt) -> tuple[str, ...]:
    return (receipt.what, receipt.endpoint, receipt.repo, receipt.kind, receipt.revision, receipt.commit)
