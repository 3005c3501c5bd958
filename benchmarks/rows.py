"""Rows of results, one line of JSON each, and the story that is told while they are made."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from selves.files import write_file

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Return the rows that are there; one that was cut off by a kill is dropped, and made again."""
    text = path.read_text("utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_file(path, whole)
    return [json.loads(line) for line in whole.splitlines()]


def append_row(path: Path, row: Row) -> None:
    """Add a row, on disk when this returns."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def tell(line: str) -> None:
    """Say on stderr what is being done, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)
