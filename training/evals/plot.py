"""Results as one SVG: each suite a curve over the life of a lineage, its chance dashed, its interval shaded.

Life runs on a logarithmic axis: by tokens seen, or by step where tokens are not known. Each stage is a line
of its own, since a chat age is no later base age. The newborn, for which there is no logarithm, stands at the
left edge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#5d3a9b", "#6b6b6b")
"""Told apart by most colour-blind eyes (Okabe and Ito 2008)."""
WIDTH, LEFT, RIGHT, TOP, GAP = 860, 56, 190, 48, 46
SHARES_HEIGHT, BITS_HEIGHT = 300, 170


class Point(NamedTuple):
    """One age in one suite."""

    x: float
    """Tokens or steps; 0 for the newborn."""
    score: float
    low: float
    high: float
    label: str
    """The age's address."""


class Curve(NamedTuple):
    """One suite in one stage."""

    suite: str
    stage: str
    points: tuple[Point, ...]
    chance: float | None


class Panel(NamedTuple):
    """Curves on one scale."""

    title: str
    curves: tuple[Curve, ...]
    bottom: float
    top: float
    height: int
    percent: bool


def draw(title: str, unit: str, shares: Sequence[Curve], bits: Sequence[Curve]) -> str:
    """Return the SVG of curves of shares (0 to 1), and below it of bits per byte; `unit` names the x axis."""
    panels = []
    if shares:
        panels.append(Panel("right answers", tuple(shares), 0.0, 1.0, SHARES_HEIGHT, percent=True))
    if bits:
        values = [value for curve in bits for point in curve.points for value in (point.low, point.high)]
        low, high = math.floor(min(values) * 4) / 4, math.ceil(max(values) * 4) / 4
        low, high = (low, high) if high > low else (low - 0.25, high + 0.25)
        panels.append(
            Panel("bits per byte (lower is better)", tuple(bits), low, high, BITS_HEIGHT, percent=False)
        )
    axis = Axis([point.x for panel in panels for curve in panel.curves for point in curve.points])
    suites = list(dict.fromkeys(curve.suite for panel in panels for curve in panel.curves))
    colours = {suite: COLOURS[n % len(COLOURS)] for n, suite in enumerate(suites)}
    body: list[str] = []
    y = TOP
    for panel in panels:
        body += _panel(panel, y, axis, colours)
        y += panel.height + GAP
    body.append(_text(LEFT + (WIDTH - LEFT - RIGHT) / 2, y - 8, unit, "middle"))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 8}" width="{WIDTH}" '
            f'height="{y + 8}" font-family="system-ui, sans-serif" font-size="12" fill="#333" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{WIDTH}" height="{y + 8}" fill="#fff"/>',
            f'<text x="{LEFT}" y="22" font-size="15" font-weight="600">{escape(title)}</text>',
            *body,
            "</svg>\n",
        ]
    )


class Axis:
    """The logarithmic axis of life, from the newborn at the left edge."""

    def __init__(self, values: Sequence[float]) -> None:
        positive = sorted({value for value in values if value > 0}) or [1.0]
        self.low, self.high = math.log(positive[0]), math.log(positive[-1])
        if self.high == self.low:
            self.low, self.high = self.low - 1, self.high + 1
        self.newborn = any(value <= 0 for value in values)
        self.span = self.high - self.low
        self.room = self.span * 0.12 if self.newborn else 0.0

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        place = math.log(value) - self.low + self.room if value > 0 else 0.0
        return LEFT + (WIDTH - LEFT - RIGHT) * place / (self.span + self.room)

    def ticks(self) -> list[float]:
        """Return round numbers, 1, 2 and 5 times powers of ten, few enough to be read; at least one."""
        powers = range(math.floor(self.low / math.log(10)), math.ceil(self.high / math.log(10)) + 1)
        for digits in ((1, 2, 5), (1, 3), (1,)):
            found = [digit * 10.0**power for power in powers for digit in digits]
            found = [value for value in found if self.low - 1e-9 <= math.log(value) <= self.high + 1e-9]
            if len(found) <= 8:
                break
        return found or [math.exp(self.low)]


def _panel(panel: Panel, y: float, axis: Axis, colours: dict[str, str]) -> list[str]:
    right = WIDTH - RIGHT

    def height(value: float) -> float:
        return y + panel.height * (1 - (value - panel.bottom) / (panel.top - panel.bottom))

    lines = [_text(LEFT, y - 8, panel.title, "start")]
    for n in range(5):
        value = panel.bottom + (panel.top - panel.bottom) * n / 4
        written = f"{value:.0%}" if panel.percent else f"{value:.2f}"
        lines += [
            f'<path d="M{LEFT} {height(value):.1f}H{right}" stroke="#e4e4e4"/>',
            _text(LEFT - 6, height(value) + 4, written, "end"),
        ]
    for tick in axis.ticks():
        lines.append(_text(axis.at(tick), y + panel.height + 16, short(tick), "middle"))
    if axis.newborn:
        lines.append(_text(axis.at(0), y + panel.height + 16, "birth", "middle"))
    named: set[str] = set()
    for curve in panel.curves:
        colour = colours[curve.suite]
        if curve.chance is not None and curve.chance > 0 and curve.suite not in named:
            dashed = f'stroke="{colour}" stroke-dasharray="3 5" opacity=".7"'
            lines.append(f'<path d="M{LEFT} {height(curve.chance):.1f}H{right}" {dashed}/>')
        places = [(axis.at(point.x), height(point.score)) for point in curve.points]
        upper = [(axis.at(point.x), height(point.high)) for point in curve.points]
        lower = [(axis.at(point.x), height(point.low)) for point in reversed(curve.points)]
        if len(places) > 1:
            lines.append(f'<polygon points="{_path(upper + lower)}" fill="{colour}" opacity=".1"/>')
            lines.append(
                f'<polyline points="{_path(places)}" fill="none" stroke="{colour}" stroke-width="2"/>'
            )
        for point, (x, level) in zip(curve.points, places, strict=True):
            fill = colour if len(places) > 1 else "#fff"
            figure = f"{point.score:.1%}" if panel.percent else f"{point.score:.3f}"
            lines.append(
                f'<circle cx="{x:.1f}" cy="{level:.1f}" r="3.5" fill="{fill}" '
                f'stroke="{colour}" stroke-width="1.5"><title>{escape(point.label)} {escape(curve.suite)} '
                f"{figure}</title></circle>"
            )
        if curve.suite not in named:
            row = y + 6 + 18 * len(named)
            lines.append(f'<rect x="{right + 16}" y="{row - 5}" width="14" height="4" fill="{colour}"/>')
            chance = f" (chance {curve.chance:.0%})" if curve.chance else ""
            lines.append(_text(right + 36, row + 1, curve.suite[-28:] + chance, "start"))
            named.add(curve.suite)
    return lines


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def short(value: float) -> str:
    """Return a number as a tick says it: 500, 20k, 1.5M."""
    for limit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"
