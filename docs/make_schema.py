"""Draw docs/images/schema.svg from memory/models.py: every table, its columns, and what points where.

python docs/make_schema.py            (or: make docs)
python docs/make_schema.py --check    exits 1 if the picture is out of date
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Column, Table
from sqlalchemy.dialects import postgresql

from memory.models import Base

PICTURE = Path(__file__).with_name("images") / "schema.svg"

COLUMNS = (
    ("person", "person_key", "consent", "heard_in", "visit", "permission", "house"),
    ("message", "pick"),
    ("scene", "generation"),
    ("feedback", "score", "writing", "checkpoint", "export_item", "export"),
    ("lease", "state", "spending"),
)
"""Which tables stand below each other; a table that is missing here comes last."""
WIDTH, GAP, LINE, ABOVE, MARGIN = 236, 76, 17, 26, 20
INK, PALE, RED = "#222", "#f6f4ef", "#b03a2e"


class Box(NamedTuple):
    """Where a table stands."""

    x: int
    y: int
    table: Table

    @property
    def height(self) -> int:
        return ABOVE + LINE * len(self.table.columns) + 8

    def line_of(self, column: Column[object]) -> int:
        return self.y + ABOVE + LINE * list(self.table.columns).index(column) + LINE // 2


def boxes() -> dict[str, Box]:
    """Lay out all tables."""
    tables = Base.metadata.tables
    placed = {name for names in COLUMNS for name in names}
    rest = tuple(name for name in sorted(tables) if name not in placed)
    found = {}
    for number, names in enumerate((*COLUMNS[:-1], COLUMNS[-1] + rest)):
        y = MARGIN
        for name in names:
            box = Box(MARGIN + number * (WIDTH + GAP), y, tables[name])
            found[name] = box
            y += box.height + 22
    return found


def draw(box: Box) -> list[str]:
    """Return a table's box."""
    x, y = box.x, box.y
    drawn = [
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{box.height}" rx="5" fill="{PALE}" stroke="{INK}"/>',
        f'<text x="{x + 10}" y="{y + 18}" class="name">{escape(box.table.name)}</text>',
    ]
    for column in box.table.columns:
        baseline = box.line_of(column) + 4
        kind = column.type.compile(dialect=postgresql.dialect()).lower()
        kind = {"timestamp with time zone": "moment", "boolean": "yes/no"}.get(kind, kind)
        style = "key" if column.primary_key else "column"
        optional = "?" if column.nullable else ""
        drawn.append(
            f'<text x="{x + 10}" y="{baseline}" class="{style}">{escape(column.name)}{optional}</text>'
        )
        drawn.append(f'<text x="{x + WIDTH - 10}" y="{baseline}" class="kind">{escape(kind)}</text>')
    return drawn


def arrow(start: Box, column: Column[object], end: Box) -> str:
    """Return the line from a column to the table that it points at."""
    y, goal = start.line_of(column), end.y + 13
    if start.x == end.x:
        x, bend = start.x + WIDTH, 46
        return f'<path d="M{x} {y} C{x + bend} {y} {x + bend} {goal} {x + 2} {goal}"/>'
    side = 1 if end.x > start.x else -1
    x = start.x + (WIDTH if side > 0 else 0)
    there = end.x - 2 if side > 0 else end.x + WIDTH + 2
    middle = (x + there) // 2
    return f'<path d="M{x} {y} C{middle} {y} {middle} {goal} {there} {goal}"/>'


def picture() -> str:
    """Return the whole picture as SVG."""
    found = boxes()
    arrows = [
        arrow(box, column, found[key.column.table.name])
        for box in found.values()
        for column in box.table.columns
        for key in column.foreign_keys
    ]
    width = 2 * MARGIN + len(COLUMNS) * WIDTH + (len(COLUMNS) - 1) * GAP + 40
    height = max(box.y + box.height for box in found.values()) + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="Helvetica, Arial, sans-serif" font-size="12">',
        "<title>The tables of the house's memory</title>",
        f"<style>.name{{font-weight:bold;font-size:14px}}.key{{text-decoration:underline}}"
        f".kind{{text-anchor:end;fill:#888}}path{{fill:none;stroke:{RED};stroke-opacity:.55;"
        f"marker-end:url(#end)}}text{{fill:{INK}}}</style>",
        '<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0 L8 4 L0 8 z" style="fill:{RED};stroke:none;marker-end:none"/>'
        "</marker></defs>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *arrows,
        *(line for box in found.values() for line in draw(box)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    made = picture()
    if "--check" in sys.argv:
        if not PICTURE.exists() or PICTURE.read_text("utf-8") != made:
            sys.exit("docs/images/schema.svg is out of date: run `make docs`")
    else:
        PICTURE.write_text(made, "utf-8")
