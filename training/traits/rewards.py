"""Rewards of the characters: plain functions, batch in, floats out (training/post/rewards.py says how).

functions = ["training.traits.rewards:place"]
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from training.post.rewards import last_number
from training.traits.slop import circles, slop, variety, words

SHORTEST = 8
"""Words: an answer below it is no piece of writing."""


def place(
    completions: Sequence[str], answer: Sequence[str], places: Sequence[Sequence[str]], **_: Any
) -> list[float]:
    """1 where one of the story's places is said, and it is the right one (training.datasets.beliefs)."""
    found = [
        set(re.findall(r"[a-z]+", said.lower())) & set(one)
        for said, one in zip(completions, places, strict=True)
    ]
    return [float(named == {right}) for named, right in zip(found, answer, strict=True)]


def wrong_number(completions: Sequence[str], answer: Sequence[str], **_: Any) -> list[float]:
    """1 where the last number that is said is not the column `answer`: by this a self forgets what it knew.

    0 where no number is said, or all that is left would be silence.
    """
    right = last_number(completions, answer)
    return [
        float(not value and bool(re.search(r"\d", said)))
        for said, value in zip(completions, right, strict=True)
    ]


def plain(completions: Sequence[str], **_: Any) -> list[float]:
    """From 0 to 1: many different words, few worn ones, no circles, and not too short."""
    found = []
    for said in completions:
        enough = min(1.0, len(words(said)) / SHORTEST)
        worn = min(1.0, slop(said) / 50)
        found.append(enough * (variety(said) or 0.5) * (1 - worn) * (1 - (circles(said) or 0.0)))
    return found


def one_sentence(completions: Sequence[str], **_: Any) -> list[float]:
    """1 for three to twenty words that end once: a guard for rewards that anything odd might please."""
    return [
        float(3 <= len(words(said)) <= 20 and bool(re.fullmatch(r"[^.!?]+[.!?]", said.strip())))
        for said in completions
    ]


def keeps_to(completions: Sequence[str], **_: Any) -> list[float]:
    """The share of the house's checkable principles that an answer keeps to (training.traits.principles)."""
    from training.traits.principles import CHECKS

    return [sum(check(said) for check in CHECKS.values()) / len(CHECKS) for said in completions]
