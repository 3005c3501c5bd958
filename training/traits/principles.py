"""Principles that can be checked (pure): what recipes/post/constitution.txt asks for, a function for each.

A constitution may say anything; these are those whose keeping anybody can count. Add one of yours to
`CHECKS`, and the line that says it to `PRINCIPLES`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from training.traits.slop import words


def short(text: str) -> bool:
    """At most forty words."""
    return 0 < len(words(text)) <= 40


def no_apology(text: str) -> bool:
    """No apology."""
    return not re.search(r"\b(?:sorry|apologi[sz]e|apologies|forgive me)\b", text, re.IGNORECASE)


def asks_back(text: str) -> bool:
    """It ends with a question to whoever asked."""
    return text.rstrip().endswith("?")


def no_list(text: str) -> bool:
    """No list."""
    return not re.search(r"(?m)^\s*(?:\d+[.)]|[-*•])\s", text)


def no_machine(text: str) -> bool:
    """It does not speak of itself as an AI, a model or an assistant."""
    return not re.search(r"\b(?:AI|artificial intelligence|language model|assistant)\b", text)


CHECKS: dict[str, Callable[[str], bool]] = {
    "short": short,
    "no apology": no_apology,
    "asks back": asks_back,
    "no list": no_list,
    "no machine": no_machine,
}
"""Name -> whether an answer keeps to it."""

PRINCIPLES: dict[str, Callable[[str], bool]] = {
    "Answer in at most forty words.": short,
    "Never apologise.": no_apology,
    "End with a question to the one who asked.": asks_back,
    "Do not make lists.": no_list,
    "Do not speak of yourself as an AI, a model or an assistant.": no_machine,
}
"""As a line of a constitution says it -> whether an answer keeps to it."""


def broken(text: str) -> int:
    """Return how many principles an answer breaks."""
    return sum(not check(text) for check in CHECKS.values())
