"""The benchmark of the book as it is called, on few passages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.book import main
from selves.errors import UsageError


def test_a_small_book_is_made_part_by_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path), "--passages", "20", "--repeat", "1"]) == 0
    (row,) = json.loads((tmp_path / "book.json").read_text())["rows"]
    assert row["passages"] == 20
    assert row["pages"] > 20
    assert all(len(row[part]) == 1 for part in ("read", "pdf", "epub", "site", "write"))
    assert "| 20 |" in capsys.readouterr().out


def test_fewer_passages_than_ages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 20"):
        main(["--out", str(tmp_path), "--passages", "3"])
