"""The picture at a chapter's head: the loss curve in grey, the life so far in black, this age in red (pure).

It has no words in it, so it is the same on paper, in the EPUB and on the website. Ages stand on the curve, at
the height of the loss that was logged there: where held-out text would put them is on the page of the life.
"""

from __future__ import annotations

import re
from html import escape
from itertools import pairwise

from book.curve import Curve, Dot

_POINT = re.compile(r"(-?[\d.]+) (-?[\d.]+)")
NEAR = 12.0
"""An age so near an end of the curve, in SVG units, stands at that end: losses are logged every few steps."""
INK, LATER, RED = "#23201c", "#c9c2b6", "#b3261e"


def draw_opener(curve: Curve, age: str) -> str:
    """Return an SVG with the point of `age` marked; of an age without a point, the whole curve in grey."""
    here = next(((panel, dot) for panel in curve.panels for dot in panel.dots if dot.name == age), None)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{curve.left:g} {curve.top - 12:g} '
        f"{curve.right - curve.left:g} "
        f'{curve.bottom - curve.top + 18:g}" role="img" aria-label="The loss curve; {escape(age)} is marked">'
    ]
    reached = curve.panels.index(here[0]) if here else -1
    for number, panel in enumerate(curve.panels):
        path = panel.loss_path or panel.path
        parts.append(f'<path d="M{panel.left:g} {curve.bottom:g}H{panel.right:g}" stroke="{LATER}"/>')
        parts.append(_line(path, LATER))
        if here and number <= reached:
            parts.append(_line(path if number < reached else _until(path, here[1].x), INK))
            lived = [dot for dot in panel.dots if number < reached or dot.x < here[1].x]
            parts += [_dot(dot.x, _height(path, dot), 2.6, INK) for dot in lived]
    if here:
        parts.append(_dot(here[1].x, _height(here[0].loss_path or here[0].path, here[1]), 6, RED))
    return "".join(parts) + "</svg>"


def draw_life(curve: Curve) -> str:
    """Return an SVG with the whole curve, its last age in red: for the title page and the cover."""
    return draw_opener(curve, curve.dots[-1].name)


def _points(path: str) -> list[tuple[float, float]]:
    return [(float(a), float(b)) for a, b in _POINT.findall(path)]


def _height(path: str, dot: Dot) -> float:
    """Return where a curve is at a dot's place, between its points; the dot's own height off its ends."""
    points = _points(path)
    for (left, above), (right, below) in pairwise(points):
        if left <= dot.x <= right:
            share = (dot.x - left) / (right - left) if right > left else 0.0
            return round(above + share * (below - above), 1)
    near = [y for x, y in (points[0], points[-1]) if abs(x - dot.x) <= NEAR] if points else []
    return near[-1] if near else dot.y


def _until(path: str, x: float) -> str:
    before = [point for point in _points(path) if point[0] <= x]
    return "M" + "L".join(f"{a:g} {b:g}" for a, b in before) if len(before) > 1 else ""


def _line(path: str, color: str) -> str:
    return f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.6"/>' if path else ""


def _dot(x: float, y: float, radius: float, color: str) -> str:
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{color}"/>'
