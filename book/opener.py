"""The picture at a chapter's head: the loss curve in grey, the life so far in black, this age in red (pure).

It has no words in it, so it is the same on paper, in the EPUB and on the website.
"""

from __future__ import annotations

import re

from book.curve import Curve

_POINT = re.compile(r"(-?[\d.]+) (-?[\d.]+)")
INK, LATER, RED = "#23201c", "#c9c2b6", "#b3261e"


def draw_opener(curve: Curve, age: str) -> str:
    """Return an SVG with the point of `age` marked; of an age without a point, the whole curve in grey."""
    here = next(((panel, dot) for panel in curve.panels for dot in panel.dots if dot.name == age), None)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 {curve.top - 12:g} {curve.width:g} '
        f'{curve.bottom - curve.top + 18:g}" role="img" aria-label="The loss curve; {age} is marked">'
    ]
    reached = curve.panels.index(here[0]) if here else -1
    for number, panel in enumerate(curve.panels):
        path = panel.loss_path or panel.path
        parts.append(f'<path d="M{panel.left:g} {curve.bottom:g}H{panel.right:g}" stroke="{LATER}"/>')
        parts.append(_line(path, LATER))
        if here and number <= reached:
            parts.append(_line(path if number < reached else _until(path, here[1].x), INK))
            lived = [dot for dot in panel.dots if number < reached or dot.x < here[1].x]
            parts += [_dot(dot.x, dot.y, 2.6, INK) for dot in lived]
    if here:
        parts.append(_dot(here[1].x, here[1].y, 6, RED))
    return "".join(parts) + "</svg>"


def _until(path: str, x: float) -> str:
    points = [(float(a), float(b)) for a, b in _POINT.findall(path)]
    before = [point for point in points if point[0] <= x]
    return "M" + "L".join(f"{a:g} {b:g}" for a, b in before) if len(before) > 1 else ""


def _line(path: str, color: str) -> str:
    return f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.6"/>' if path else ""


def _dot(x: float, y: float, radius: float, color: str) -> str:
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{color}"/>'
