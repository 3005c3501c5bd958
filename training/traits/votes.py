"""What was preferred to what, in a file of rows for dpo: each is written as soon as it is decided.

A row is one line, written by one call of the system, so whoever kills the program leaves whole lines. Another
evening adds to the file; what somebody decided before is not asked again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selves.errors import DiskError, UsageError
from selves.files import disk_error
from training.traits.duels import Duel, Judge, Verdict

COLUMNS = ("prompt", "chosen", "rejected", "judge", "better")


class Votes:
    """A file of what one judge decided who was asked which answer is `better`, such as "funnier".

    Raises UsageError where something else than duels stands in it, DiskError.
    """

    def __init__(self, path: Path | None, judge: str, better: str) -> None:
        self.path, self.judge, self.better = path, judge, better
        self.added = 0
        self._known: set[tuple[str, str, str]] = set()
        if path is not None and path.exists():
            self._known = {
                (row["prompt"], row["chosen"], row["rejected"])
                for row in _read(path)
                if row["judge"] == judge and row["better"] == better
            }

    def add(self, duel: Duel) -> None:
        """Write a duel's row, if it has one that is new. Raises DiskError; the file is then as it was."""
        row = duel.row(self.judge, self.better)
        if self.path is None or row is None or (row["prompt"], row["chosen"], row["rejected"]) in self._known:
            return
        _append(self.path, json.dumps(row, ensure_ascii=False) + "\n")
        self._known.add((row["prompt"], row["chosen"], row["rejected"]))
        self.added += 1

    def remembered(self, judge: Judge) -> Judge:
        """Return a judge that is asked only what it has not decided yet."""

        def ask(prompt: str, one: str, other: str) -> Verdict:
            if (prompt, one, other) in self._known:
                return Verdict(1.0)
            if (prompt, other, one) in self._known:
                return Verdict(-1.0)
            return judge(prompt, one, other)

        return ask


def _read(path: Path) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "name another file with -o") from error
    if lines.pop():
        raise UsageError(f"{path} ends in the middle of a line", "end that line, or delete it")
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or any(not isinstance(row.get(name), str) for name in COLUMNS):
            raise UsageError(
                f"{path} line {number} is no row of a duel, which has {', '.join(COLUMNS)}",
                "name another file with -o",
            )
        found.append(row)
    return found


def _append(path: Path, line: str) -> None:
    data = line.encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            written = os.write(file, data)
            if written < len(data):  # the disk is full: take back the half of a line
                os.ftruncate(file, os.fstat(file).st_size - written)
                raise DiskError(f"the disk is full: {path} could not be written", "free some space")
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        raise disk_error(error, path) from error
