"""Tables for a terminal (pure): as many columns as there is room for, the others below them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import wrap

GAP = 2
HEAD = 10
"""Letters that a head may be wide, however narrow its cells are."""


def lay_out(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return the lines of a table whose first row is the head and whose first column is names.

    Heads are wrapped to the width of their cells. Columns that do not fit stand in another table below.
    """
    columns = [_column(cells) for cells in zip(*rows, strict=True)]
    names, *others = columns
    found: list[str] = []
    while others:
        some = [others.pop(0)]
        while others and sum(_wide(one) + GAP for one in (names, *some, others[0])) - GAP <= width:
            some.append(others.pop(0))
        found += [""] if found else []
        found += _lines([names, *some])
    return found


def _column(cells: Sequence[str]) -> tuple[list[str], Sequence[str]]:
    """Return the lines of a head, and what stands below it."""
    head, *below = cells
    room = max([HEAD, *map(len, below)])
    return wrap(head, room, break_long_words=False) or [""], below


def _wide(column: tuple[list[str], Sequence[str]]) -> int:
    return max(map(len, (*column[0], *column[1])))


def _lines(columns: Sequence[tuple[list[str], Sequence[str]]]) -> Iterable[str]:
    high = max(len(head) for head, _ in columns)
    whole = [[*[""] * (high - len(head)), *head, *cells] for head, cells in columns]
    for row in zip(*whole, strict=True):
        first, *rest = (
            cell.ljust(_wide(column)) if at == 0 else cell.rjust(_wide(column))
            for at, (cell, column) in enumerate(zip(row, columns, strict=True))
        )
        yield (" " * GAP).join((first, *rest)).rstrip()
