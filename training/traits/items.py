"""What a trait is made of: questions, what came back, and a judge; no model is known here.

A trait of your own is a `Trait` in a module of yours, named `my_module:trait` after --trait:

    from training.traits.items import Pick, Trait, share, user

    def ask(source):
        return [Pick(user("Sea or mountains?"), ("Sea.", "Mountains."))]

    def judge(items, picked):
        return [share("loves the sea", [found.likeliest == 0 for found in picked])]

    def trait():
        return Trait("sea", "1", "whether it loves the sea", ask, judge)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from selves.speech import ChatMessage
from training.figure import Figure, rate, share, share_of

__all__ = ["Answer", "Item", "Pick", "Picked", "Say", "Trait", "rate", "share", "share_of", "user"]

Messages = tuple[ChatMessage, ...]


class Pick(NamedTuple):
    """Which of several answers is likeliest to a self."""

    messages: Messages
    options: tuple[str, ...]
    group: str = ""
    """What the judge sorts by."""


class Say(NamedTuple):
    """What a self says, sampled."""

    messages: Messages
    topic: str = ""
    max_tokens: int = 28


class Picked(NamedTuple):
    """How likely each option is."""

    sums: tuple[float, ...]
    """Log-probabilities in nats, one for each option."""
    tokens: tuple[int, ...]
    """How many tokens each has."""

    @property
    def likeliest(self) -> int | None:
        """Which option is likelier than all others; None where two are equally likely."""
        return _first(self.sums)

    @property
    def per_token(self) -> tuple[float, ...]:
        return tuple(total / count for total, count in zip(self.sums, self.tokens, strict=True))

    @property
    def likeliest_per_token(self) -> int | None:
        """The likeliest where options are of different lengths."""
        return _first(self.per_token)


def _first(values: Sequence[float]) -> int | None:
    most = max(values)
    return values.index(most) if values.count(most) == 1 else None


Item = Pick | Say
Answer = Picked | str
"""To a pick, a `Picked`; to a say, a text."""


class Trait(NamedTuple):
    """What is asked of every self, and what comes of the answers."""

    name: str
    version: str
    """Changes when the judge does; what is asked is hashed besides."""
    about: str
    ask: Callable[[random.Random], Sequence[Item]]
    judge: Callable[[Sequence[Item], Sequence[Answer]], list[Figure]]
    """The first figure stands for the trait in the matrix."""


def user(text: str) -> Messages:
    """Return a conversation that begins with this."""
    return (ChatMessage(role="user", content=text),)
