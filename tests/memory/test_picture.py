"""The picture of the tables shows the tables that there are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from memory.models import Base

HOUSE = Path(__file__).parents[2]


def test_the_picture_is_drawn_from_the_models() -> None:
    drawn = subprocess.run(
        [sys.executable, "docs/make_schema.py", "--check"],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert drawn.returncode == 0, drawn.stderr


def test_every_table_and_column_is_in_it() -> None:
    picture = ElementTree.parse(HOUSE / "docs" / "images" / "schema.svg")
    words = {(element.text or "").rstrip("?") for element in picture.iter() if element.text}
    for table in Base.metadata.tables.values():
        assert {table.name, *(column.name for column in table.columns)} <= words
