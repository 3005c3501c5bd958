"""The curve of a life as geometry: training loss in grey, and each age as a dot at its bits per byte.

Pure: numbers in, coordinates out; `templates/curve.svg` draws them. Each stage has its own panel, its steps
on a logarithmic scale (of step + 1, so that birth has a place); all share the scale of height.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import NamedTuple

from book.metrics import Metric

TOP, BOTTOM = 30.0, 46.0
"""Margins above and below the panels, in SVG units."""


class Mark(NamedTuple):
    """An age to be drawn."""

    name: str
    stage: str
    step: int
    bits_per_byte: float
    train_loss: float | None


class Tick(NamedTuple):
    """A labelled place on an axis, in SVG units."""

    at: float
    label: str


class Dot(NamedTuple):
    """An age in the picture."""

    name: str
    x: float
    y: float
    bits_per_byte: float


@dataclass(frozen=True, slots=True)
class Panel:
    """One stage of training."""

    stage: str
    left: float
    right: float
    ticks: tuple[Tick, ...]
    dots: tuple[Dot, ...]
    path: str
    """SVG path through the dots."""
    loss_path: str
    """SVG path of the training loss; empty when none was logged."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The whole picture, in SVG units."""

    width: float
    height: float
    top: float
    bottom: float
    left: float
    right: float
    panels: tuple[Panel, ...]
    ticks: tuple[Tick, ...]
    """Bits per byte, on the left."""
    loss_ticks: tuple[Tick, ...]
    """Nats per token, on the right; empty when no loss was logged."""

    @property
    def dots(self) -> tuple[Dot, ...]:
        return tuple(dot for panel in self.panels for dot in panel.dots)


def draw_curve(
    marks: Sequence[Mark], metrics: Sequence[Metric], *, width: float, height: float
) -> Curve | None:
    """Lay out the curve of a life; None when no age has its bits per byte.

    The two scales of height are proportional, by the ratio of training loss and bits per byte in the median
    age, so that the loss runs where the dots are, as far as held-out text is like training text.
    """
    if not marks:
        return None
    stages = list(dict.fromkeys(mark.stage for mark in marks))
    logged = [m for m in metrics if m.stage in stages and m.loss is not None and math.isfinite(m.loss)]
    low, high, spacing = _scale([mark.bits_per_byte for mark in marks])
    left, right = 40.0, width - (40.0 if logged else 14.0)
    bottom = height - BOTTOM

    def to_y(bits_per_byte: float) -> float:
        return round(bottom - (bits_per_byte - low) / (high - low) * (bottom - TOP), 1)

    nats_per_bit = _nats_per_bit(marks, logged)
    spans = _spans(
        stages, [(m.stage, m.step) for m in marks] + [(m.stage, m.step) for m in logged], left, right
    )
    panels = tuple(
        _panel(
            span,
            [mark for mark in marks if mark.stage == span.stage],
            [(m.step, (m.loss or 0.0) / nats_per_bit) for m in logged if m.stage == span.stage],
            lambda value: to_y(min(max(value, low), high)),
        )
        for span in spans
    )
    loss_low, loss_high = low * nats_per_bit, high * nats_per_bit
    return Curve(
        width=width,
        height=height,
        top=TOP,
        bottom=bottom,
        left=left,
        right=right,
        panels=panels,
        ticks=tuple(Tick(to_y(value), f"{value:g}") for value in _multiples(low, high, spacing)),
        loss_ticks=tuple(
            Tick(to_y(value / nats_per_bit), f"{value:g}")
            for value in _multiples(loss_low, loss_high, _nice((loss_high - loss_low) / 5))
        )
        if logged
        else (),
    )


class _Span(NamedTuple):
    stage: str
    left: float
    right: float
    last_step: int

    def x(self, step: int) -> float:
        share = math.log1p(step) / math.log1p(max(self.last_step, 1))
        return round(self.left + 8 + share * (self.right - self.left - 16), 1)


def _spans(
    stages: Sequence[str], steps: Sequence[tuple[str, int]], left: float, right: float
) -> tuple[_Span, ...]:
    """Share the width: each stage gets room for its ages, the first most."""
    last = {stage: max(step for other, step in steps if other == stage) for stage in stages}
    weights = [math.log1p(last[stage]) + 1 for stage in stages]
    if len(weights) > 1:
        weights[0] = max(weights[0], 1.7 * sum(weights[1:]))
    gap = 18.0
    unit = (right - left - gap * (len(stages) - 1)) / sum(weights)
    spans, x = [], left
    for stage, weight in zip(stages, weights, strict=True):
        spans.append(_Span(stage, round(x, 1), round(x + weight * unit, 1), last[stage]))
        x += weight * unit + gap
    return tuple(spans)


def _panel(
    span: _Span,
    marks: Sequence[Mark],
    losses: Sequence[tuple[int, float]],
    to_y: Callable[[float], float],
) -> Panel:
    dots = tuple(
        Dot(m.name, span.x(m.step), to_y(m.bits_per_byte), m.bits_per_byte)
        for m in sorted(marks, key=lambda mark: mark.step)
    )
    by_column: dict[int, list[tuple[float, float]]] = {}
    for step, value in losses:
        x = span.x(step)
        by_column.setdefault(int(x / 2), []).append((x, to_y(value)))
    line = [
        (round(fmean(x for x, _ in column), 1), round(fmean(y for _, y in column), 1))
        for _, column in sorted(by_column.items())
    ]
    return Panel(
        stage=span.stage,
        left=span.left,
        right=span.right,
        ticks=_step_ticks(span),
        dots=dots,
        path=_path([(dot.x, dot.y) for dot in dots]),
        loss_path=_path(line),
    )


def _step_ticks(span: _Span) -> tuple[Tick, ...]:
    """Label 0, the powers of ten and the last step, where they do not touch."""
    steps = [0, *(10**power for power in range(1, 12) if 10**power < span.last_step), span.last_step]
    ticks: list[Tick] = []
    for step in sorted(set(steps), reverse=True):
        x = span.x(step)
        if not ticks or ticks[-1].at - x > 34:
            ticks.append(Tick(x, f"{step:,}".replace(",", "\u2009")))
    return tuple(reversed(ticks))


def _nats_per_bit(marks: Sequence[Mark], logged: Sequence[Metric]) -> float:
    """Return how many nats per token go with one bit per byte, in the median of what knows both."""
    pairs = [(m.loss, m.bits_per_byte) for m in logged] + [(m.train_loss, m.bits_per_byte) for m in marks]
    ratios = [loss / bits for loss, bits in pairs if loss and bits]
    if ratios:
        return median(ratios)
    losses = [m.loss for m in logged if m.loss]
    return max(losses) / max(m.bits_per_byte for m in marks) if losses else 1.0


def _scale(values: Sequence[float]) -> tuple[float, float, float]:
    """Return a lower and an upper end that hold all values with some air, and the distance of ticks."""
    low, high = min(values), max(values)
    spacing = _nice((high - low) / 6 or 0.5)
    return (
        max(0.0, math.floor(low / spacing - 0.35) * spacing),
        math.ceil(high / spacing + 0.15) * spacing,
        spacing,
    )


def _nice(distance: float) -> float:
    """Return 1, 2 or 5 times a power of ten, not below `distance`."""
    power = 10.0 ** math.floor(math.log10(distance))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= distance * 0.999)


def _multiples(low: float, high: float, spacing: float) -> list[float]:
    first, last = math.ceil(low / spacing - 1e-9), math.floor(high / spacing + 1e-9)
    return [number * spacing for number in range(first, last + 1)]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points) if len(points) > 1 else ""
