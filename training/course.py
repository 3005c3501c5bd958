"""How the loss goes, step after step, and what of it a self should remember: pure.

A spike is one step that is a nat worse than the last ones; a divergence, that they all became so; a recovery,
that they are as good again as they were; a best, that they are better.
"""

from __future__ import annotations

import math
from typing import Literal

from selves.speech import Frozen
from training.kinds import Occasion

SETTLED = 20
"""Before so many steps everything jumps."""
RISE = 1.0
"""By so many nats, smoothed or not, is worth telling."""
CLOSE = 0.05


class Course(Frozen):
    """How the loss went so far."""

    lowest: float | None = None
    """The lowest smoothed loss before what happens now, if something does."""
    state: Literal["calm", "spiked", "diverged", "recovered"] = "calm"
    since: int = 0
    """The step of the state's beginning."""
    told: int = 0
    """How many events there were."""


def follow(
    course: Course, step: int, loss: float, before: float | None, smooth: float, rise: float = RISE
) -> tuple[Course, Occasion | None]:
    """Return how the loss has gone with this step, and what happened at it, if something did.

    `before` and `smooth` are the smoothed loss without and with the step's own.
    """
    lowest = course.lowest
    if not math.isfinite(loss):
        return (
            (course, None) if course.state == "diverged" else (_told(course, "diverged", step), "divergence")
        )
    if step <= SETTLED or before is None or lowest is None:
        return course.model_copy(update={"lowest": smooth}), None
    match course.state:
        case "calm" | "spiked" if smooth > lowest + rise:
            return _told(course, "diverged", step), "divergence"
        case "calm" if loss > before + rise:
            return _told(course, "spiked", step), "spike"
        case "spiked" if step - course.since >= SETTLED and smooth <= lowest + CLOSE:
            return course.model_copy(update={"state": "calm"}), None
        case "diverged" if smooth <= lowest + CLOSE:
            return _told(course, "recovered", step), "recovery"
        case "recovered" if smooth < lowest - CLOSE:
            return _told(course.model_copy(update={"lowest": smooth}), "calm", step), "best"
        case "calm" if smooth < lowest:
            return course.model_copy(update={"lowest": smooth}), None
    return course, None


def _told(course: Course, state: str, step: int) -> Course:
    return course.model_copy(update={"state": state, "since": step, "told": course.told + 1})
