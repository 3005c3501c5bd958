"""Traits by selves (pure): a table, and one picture in which each column is a trait and each row a self.

A colour says how far a self is from the one it is compared with, the first row, in units of both intervals:
blue above, orange below, and pale where the intervals say that it may be nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from training.evals.items import Z95
from training.post.figures import Figure
from training.traits.tell_apart import Told

ABOVE, BELOW = (0, 114, 178), (213, 94, 0)
"""Blue and orange, told apart by most colour-blind eyes (Okabe and Ito 2008)."""
STRONG = 4.0
"""Standard errors at which a colour is full."""
LEFT, TOP, WIDE, HIGH = 190, 150, 92, 30

Row = Mapping[str, Figure]
"""Trait -> its first figure."""


def distance(figure: Figure, other: Figure) -> float:
    """Return how many standard errors a figure is above another."""
    errors = [(one.high - one.low) / (2 * Z95) for one in (figure, other)]
    error = math.hypot(*errors)
    return 0.0 if figure.value == other.value else (figure.value - other.value) / max(error, 1e-9)


def draw(selves: Mapping[str, Row], traits: Sequence[str]) -> str:
    """Return the matrix as an SVG; the first self is what the others are compared with."""
    first = next(iter(selves.values()))
    width, height = LEFT + WIDE * len(traits) + 130, TOP + HIGH * len(selves) + 46
    body = []
    for column, trait in enumerate(traits):
        x = LEFT + WIDE * column + WIDE / 2
        figure = next((row[trait] for row in selves.values() if trait in row), None)
        named = figure.name if figure else ""
        body.append(
            f'<text transform="translate({x - 6:.0f} {TOP - 10}) rotate(-32)"><tspan font-weight="600">'
            f'{escape(trait)}</tspan><tspan dx="6" fill="#777" font-size="10">{escape(named)}</tspan></text>'
        )
    for line, (name, row) in enumerate(selves.items()):
        y = TOP + HIGH * line
        body.append(
            f'<text x="{LEFT - 10}" y="{y + HIGH / 2 + 4:.0f}" text-anchor="end">{escape(name)}</text>'
        )
        for column, trait in enumerate(traits):
            if trait in row:
                far = distance(row[trait], first[trait]) if line and trait in first else 0.0
                body.append(_cell(row[trait], far, LEFT + WIDE * column, y, f"{name} {trait}"))
    foot = (
        f"Compared with {next(iter(selves))}: blue above, orange below, full from {STRONG:g} standard errors."
    )
    body.append(f'<text x="{LEFT}" y="{height - 16}" fill="#777">{escape(foot)}</text>')
    return _svg(width, height, "Traits by selves", body)


def _cell(figure: Figure, far: float, x: float, y: float, label: str) -> str:
    share = min(1.0, abs(far) / STRONG) if abs(far) >= Z95 else 0.0
    colour = ABOVE if far > 0 else BELOW
    red, green, blue = (round(247 + (part - 247) * share) for part in colour)
    ink = "#fff" if share > 0.55 else "#333"
    return (
        f"<g><title>{escape(label)}: {escape(figure.name)} {figure}</title>"
        f'<rect x="{x + 2}" y="{y + 2}" width="{WIDE - 4}" height="{HIGH - 4}" rx="4" '
        f'fill="rgb({red},{green},{blue})"/>'
        f'<text x="{x + WIDE / 2:.0f}" y="{y + HIGH / 2 + 4:.0f}" text-anchor="middle" fill="{ink}">'
        f"{escape(short(figure))}</text></g>"
    )


def short(figure: Figure) -> str:
    """Return a figure without its interval."""
    return f"{figure.value:.0%}" if figure.share else f"{figure.value:.3g}"


def draw_confusion(told: Told) -> str:
    """Return who was taken for whom as an SVG."""
    size, left, top = 54, 190, 150
    count = len(told.selves)
    width, height = left + size * count + 100, top + size * count + 60
    body = []
    for at, name in enumerate(told.selves):
        x = left + size * at + size / 2
        body.append(f'<text transform="translate({x:.0f} {top - 10}) rotate(-40)">{escape(name)}</text>')
        y = top + size * at + size / 2 + 4
        body.append(f'<text x="{left - 10}" y="{y:.0f}" text-anchor="end">{escape(name)}</text>')
    for line, row in enumerate(told.confusion):
        for column, number in enumerate(row):
            share = number / max(1, sum(row))
            red, green, blue = (round(250 + (part - 250) * share) for part in ABOVE)
            x, y = left + size * column, top + size * line
            body.append(
                f'<rect x="{x + 1}" y="{y + 1}" width="{size - 2}" height="{size - 2}" rx="4" '
                f'fill="rgb({red},{green},{blue})"/>'
            )
            if number:
                ink = "#fff" if share > 0.55 else "#333"
                body.append(
                    f'<text x="{x + size / 2:.0f}" y="{y + size / 2 + 4:.0f}" text-anchor="middle" '
                    f'fill="{ink}">{number}</text>'
                )
    low, high = told.interval
    foot = f"{told.accuracy:.0%} of {told.n} right ({low:.0%} to {high:.0%}), chance {told.chance:.0%}"
    body.append(f'<text x="{left}" y="{height - 24}" fill="#777">{escape(foot)}</text>')
    return _svg(width, height, "Who said it (row), and who was named (column)", body)


def _svg(width: float, height: float, title: str, body: Sequence[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" font-family="system-ui, sans-serif" font-size="12" '
            'fill="#333" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width:.0f}" height="{height:.0f}" fill="#fff"/>',
            f'<text x="16" y="24" font-size="15" font-weight="600">{escape(title)}</text>',
            *body,
            "</svg>\n",
        ]
    )
