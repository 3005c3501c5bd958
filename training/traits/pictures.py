"""Pictures of selves (pure), as SVG: traits by selves, and who is taken for whom."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from textwrap import wrap

from training.traits.matrix import FAR_DOWN, FAR_UP, Cell, Matrix, ends, short
from training.traits.tell_apart import Told

ABOVE, BELOW = (0, 114, 178), (213, 94, 0)
"""Blue and orange, told apart by most colour-blind eyes (Okabe and Ito 2008)."""
STRONG = 5.0
"""Standard errors at which a colour is full."""
PALE = 244
INK, GREY, LIGHT = "#333", "#6b6b6b", "#fff"
LETTER = 7.2
"""Pixels that a letter of 12 pixels is wide, at most on average."""
NARROW = 6.6
"""And one of 11."""
EDGE, TOP, WIDE, HIGH, LINE = 16, 44, 96, 42, 13


def draw(matrix: Matrix) -> str:
    """Return traits by selves. Blue is above whom a self is compared with, orange below, each from the end of
    the interval on; a frame is around what is no chance.
    """
    traits, foot = matrix.traits, matrix.foot
    names = {who: _named(who, matrix) for who in matrix.cells}
    left = _left([line for lines in names.values() for line in lines])
    heads = {trait: wrap(matrix.figure_of(trait), 17) for trait in traits}
    top = TOP + LINE * (2 + max(map(len, heads.values()), default=0))
    room = max(60, int((left + WIDE * len(traits)) / NARROW))
    notes = [line for sentence in foot for line in wrap(sentence, room, break_on_hyphens=False)]
    width = max(
        300, left + WIDE * len(traits) + EDGE, EDGE * 2 + round(NARROW * max(map(len, notes), default=0))
    )
    height = top + HIGH * len(names) + 20 + 16 * len(notes) + 8
    body = []
    for column, trait in enumerate(traits):
        x = left + WIDE * (column + 0.5)
        body.append(_text(x, TOP + LINE, trait.rpartition(".")[2], "middle", more='font-weight="600"'))
        for at, line in enumerate(heads[trait]):
            body.append(_text(x, TOP + LINE * (at + 2) + 2, line, "middle", GREY, 10.5))
    for at, (who, row) in enumerate(matrix.cells.items()):
        y = top + HIGH * at
        for number, line in enumerate(names[who]):
            middle = y + HIGH / 2 + 4 + LINE * (number - (len(names[who]) - 1) / 2)
            body.append(_text(left - 10, middle, line, "end", GREY if number else INK, 10 if number else 12))
        for column, trait in enumerate(traits):
            if trait in row:
                body.append(_cell(row[trait], left + WIDE * column, y, f"{who} {trait}"))
    body += [
        _text(EDGE, top + HIGH * len(names) + 26 + 16 * at, note, "start", GREY, 11)
        for at, note in enumerate(notes)
    ]
    return _svg(width, height, "Traits by selves", body)


def _named(who: str, matrix: Matrix) -> list[str]:
    """Return a row's name, and below it with whom it is compared where that is not the first."""
    against = matrix.against.get(who)
    first = next(iter(matrix.cells))
    return [who] if against in (None, first) else [who, f"beside {against}"]


def _cell(cell: Cell, x: float, y: float, label: str) -> str:
    share = min(1.0, abs(cell.far) / STRONG) if cell.mark else 0.0
    fill, ink = _shade(ABOVE if cell.far > 0 else BELOW, share)
    framed = f' stroke="{INK}" stroke-width="2"' if cell.mark in (FAR_UP, FAR_DOWN) else ""
    middle = x + WIDE / 2
    return (
        f"<g><title>{escape(label)}: {escape(cell.figure.name)} {cell.figure}</title>"
        f'<rect x="{x + 3}" y="{y + 3}" width="{WIDE - 6}" height="{HIGH - 6}" rx="4" fill="{fill}"{framed}/>'
        f"{_text(middle, y + 19, f'{short(cell.figure)} {cell.mark}'.strip(), 'middle', ink)}"
        f"{_text(middle, y + 32, ends(cell.figure), 'middle', ink, 9.5)}</g>"
    )


def draw_confusion(told: Told) -> str:
    """Return who was taken for whom: a row for each who said it, in percent of what they said."""
    size, head = 46, 12
    left = _left(told.selves)
    count = len(told.selves)
    rise = LETTER * 0.75 * max(map(len, told.selves))  # names lean, at 45 degrees
    top = TOP + rise + head
    low, high = told.interval
    foot = (
        f"{told.accuracy:.0%} of {told.n} right ({low:.0%} to {high:.0%}, resampled by question); "
        f"by chance {told.chance:.0%}. In each row: of a hundred answers, how many are taken for whose."
    )
    body = []
    for at, name in enumerate(told.selves):
        x = left + size * (at + 0.5)
        body.append(f'<text transform="translate({x:.0f} {top - 8:.0f}) rotate(-45)">{escape(name)}</text>')
        body.append(_text(left - 10, top + size * (at + 0.5) + 4, name, "end"))
    for line, row in enumerate(told.confusion):
        for column, number in enumerate(row):
            share = number / max(1, sum(row))
            fill, ink = _shade(ABOVE if line == column else BELOW, share)
            x, y = left + size * column, top + size * line
            body.append(
                f'<rect x="{x + 1}" y="{y + 1:.0f}" width="{size - 2}" height="{size - 2}" rx="4" '
                f'fill="{fill}"/>'
            )
            if number:
                body.append(_text(x + size / 2, y + size / 2 + 4, f"{100 * share:.0f}", "middle", ink))
    width = max(left + size * count + rise + EDGE, 560.0)
    notes = wrap(foot, int((width - 2 * EDGE) / NARROW))
    for at, note in enumerate(notes):
        body.append(_text(EDGE, top + size * count + 24 + 16 * at, note, "start", GREY, 11))
    height = top + size * count + 24 + 16 * len(notes)
    return _svg(width, height, "Who said it (row), and who was named (column)", body)


def _left(names: Sequence[str]) -> int:
    return EDGE + 10 + round(LETTER * max(map(len, names), default=0))


def _shade(colour: tuple[int, int, int], share: float) -> tuple[str, str]:
    """Return a colour that is the fuller, the greater the share, and that of ink on it."""
    red, green, blue = (round(PALE + (part - PALE) * share) for part in colour)
    return f"rgb({red},{green},{blue})", LIGHT if share > 0.6 else INK


def _text(
    x: float, y: float, text: str, anchor: str, ink: str = INK, size: float = 12, more: str = ""
) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{ink}" font-size="{size:g}" {more}>'
        f"{escape(text)}</text>"
    )


def _svg(width: float, height: float, title: str, body: Sequence[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" font-family="system-ui, sans-serif" font-size="12" '
            f'fill="{INK}" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width:.0f}" height="{height:.0f}" fill="#fff"/>',
            f'<text x="{EDGE}" y="26" font-size="15" font-weight="600">{escape(title)}</text>',
            *body,
            "</svg>\n",
        ]
    )
