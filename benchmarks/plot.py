"""A small plot as SVG: points by group and one straight line, both axes logarithmic."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

Point = tuple[float, float]

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 720, 440, 70, 50, 46, 150
COLORS = ("#1f6f8b", "#d1495b", "#6a994e", "#8e5ea2", "#e09f3e", "#444444")


def log_log(
    groups: Mapping[str, Sequence[Point]],
    line: Callable[[float], float],
    *,
    title: str,
    x_label: str,
    y_label: str,
) -> str:
    """Return the SVG; x and y are positive, and at least two points differ in x."""
    points = [point for group in groups.values() for point in group]
    lows = [min(math.log10(point[axis]) for point in points) for axis in (0, 1)]
    highs = [max(math.log10(point[axis]) for point in points) for axis in (0, 1)]
    for axis, part in ((0, 0.05), (1, 0.1)):
        margin = max(highs[axis] - lows[axis], 1e-3) * part
        lows[axis] -= margin
        highs[axis] += margin

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - lows[0]) / (highs[0] - lows[0])
        up = (math.log10(y) - lows[1]) / (highs[1] - lows[1])
        inner = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM)
        return LEFT + across * inner[0], HEIGHT - BOTTOM - up * inner[1]

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" role="img" aria-label="{escape(title)}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, TOP - 22, title, size=14),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_label, anchor="middle"),
        f'<clipPath id="inside"><rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" '
        f'height="{HEIGHT - TOP - BOTTOM}"/></clipPath>',
        _text(LEFT, TOP - 5, y_label, size=11),
    ]
    left, right = 10 ** lows[0], 10 ** highs[0]
    low, high = 10 ** lows[1], 10 ** highs[1]
    for x in _ticks(left, right):
        at = place(x, low)[0]
        out += [_line(at, TOP, at, HEIGHT - BOTTOM, "#dddddd"), _text(at, HEIGHT - 32, f"{x:.2g}", "middle")]
    for y in _ticks(low, high):
        at = place(left, y)[1]
        out += [_line(LEFT, at, WIDTH - RIGHT, at, "#dddddd"), _text(LEFT - 8, at + 4, f"{y:.3g}", "end")]
    out.append(_line(*place(left, line(left)), *place(right, line(right)), "#888888", dashed=True))
    for number, (name, group) in enumerate(groups.items()):
        color = COLORS[number % len(COLORS)]
        placed = [place(*point) for point in sorted(group)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        out.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-opacity="0.5"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>' for x, y in placed]
        at = TOP + 16 + 20 * number
        out.append(f'<circle cx="{WIDTH - RIGHT + 18}" cy="{at - 4}" r="4" fill="{color}"/>')
        out.append(_text(WIDTH - RIGHT + 28, at, name))
    return "\n".join([*out, "</svg>"]) + "\n"


def _ticks(low: float, high: float) -> list[float]:
    """Return round values between: powers of ten, more if there are fewer than three of them."""
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), tuple(n / 10 for n in range(10, 100))):
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [step * 10.0**n for n in exponents for step in steps if low <= step * 10.0**n <= high]
        if len(ticks) >= 3:
            return ticks
    return [low, high]


def _line(x1: float, y1: float, x2: float, y2: float, color: str, *, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="6 4"' if dashed else ""
    place = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {place} stroke="{color}" clip-path="url(#inside)"{dash}/>'


def _text(x: float, y: float, said: str, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(said)}</text>'
