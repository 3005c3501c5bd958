"""What a suite is made of: items with one right answer, and the setting that a suite makes them for.

A suite is one function that yields items. Your own, in `my_module.py`:

    from training.evals.items import Choice, Given

    def colours(given: Given) -> list[Choice]:
        return [Choice("The colour of snow is", (" white", " black"), right=0)]

It is named `my_module:colours` in a recipe's [evals] or after --suite.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from selves.speech import ChatMessage, Form

Z95 = 1.959963984540054
"""The normal distribution's quantile for an interval of 95 %."""


class Said(NamedTuple):
    """What came back for a completion."""

    text: str
    ended: bool
    """Whether the model ended by itself, with the token that ends what it says."""


class Choice(NamedTuple):
    """Right is the option that the model finds likelier than all others after the prompt."""

    prompt: str
    options: tuple[str, ...]
    """Each continues the prompt as it stands, so usually begins with a space."""
    right: int

    @property
    def chance(self) -> float:
        return 1 / len(self.options)


class Completion(NamedTuple):
    """Right is what passes the check; the model continues greedily. Nobody hits it by chance."""

    prompt: str | tuple[ChatMessage, ...]
    """A text to continue, or messages for the chat template."""
    check: Callable[[Said], bool]
    max_tokens: int = 16

    @property
    def chance(self) -> float:
        return 0.0


Item = Choice | Completion


class Text(NamedTuple):
    """The text that a self was raised on, as documents; empty where it is not at hand."""

    name: str = ""
    """Name of the prepared corpus' folder."""
    train: tuple[str, ...] = ()
    """A sample of what was trained on."""
    heldout: tuple[str, ...] = ()


class Given(NamedTuple):
    """What a suite is called with; the same setting gives the same items."""

    rng: random.Random
    wanted: int
    """How many items to make."""
    form: Form
    """How the age is spoken to."""
    text: Text


Make = Callable[[Given], Sequence[Item]]


def wilson(right: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    share, square = right / count, Z95**2 / count
    middle = (share + square / 2) / (1 + square)
    half = Z95 * math.sqrt(share * (1 - share) / count + square / (4 * count)) / (1 + square)
    low, high = min(share, middle - half), max(share, middle + half)  # at 0 and 1 rounding may go past it
    return max(0.0, low), min(1.0, high)


def bootstrap(
    parts: Sequence[tuple[float, float]], rng: random.Random, rounds: int = 1000
) -> tuple[float, float]:
    """Return the 95 % interval of sum(first) / sum(second) over resampled parts (Efron 1979)."""
    ratios = []
    for _ in range(rounds):
        drawn = rng.choices(parts, k=len(parts))
        ratios.append(sum(part[0] for part in drawn) / sum(part[1] for part in drawn))
    ratios.sort()
    return ratios[int(0.025 * rounds)], ratios[int(0.975 * rounds)]
