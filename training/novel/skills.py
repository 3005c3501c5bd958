"""Small tasks with one right answer (pure), for letters that are to teach them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

SHOWN = 3
"""Examples that the writer of a letter sees."""
OPPOSITES = (
    *(
        ("hot", "cold"),
        ("big", "small"),
        ("up", "down"),
        ("old", "young"),
        ("fast", "slow"),
        ("dark", "light"),
    ),
    *(
        ("wet", "dry"),
        ("rich", "poor"),
        ("hard", "soft"),
        ("full", "empty"),
        ("long", "short"),
        ("loud", "quiet"),
    ),
    *(
        ("early", "late"),
        ("open", "closed"),
        ("near", "far"),
        ("high", "low"),
        ("sad", "happy"),
        ("weak", "strong"),
    ),
)
PLURALS = (
    *(("cat", "cats"), ("box", "boxes"), ("child", "children"), ("mouse", "mice"), ("city", "cities")),
    *(
        ("man", "men"),
        ("leaf", "leaves"),
        ("foot", "feet"),
        ("dog", "dogs"),
        ("bus", "buses"),
        ("baby", "babies"),
    ),
    *(("tooth", "teeth"), ("knife", "knives"), ("tree", "trees"), ("dish", "dishes"), ("goose", "geese")),
)
PASTS = (
    *(("go", "went"), ("see", "saw"), ("eat", "ate"), ("walk", "walked"), ("run", "ran"), ("give", "gave")),
    *(
        ("take", "took"),
        ("play", "played"),
        ("write", "wrote"),
        ("sing", "sang"),
        ("come", "came"),
        ("buy", "bought"),
    ),
    *(("know", "knew"), ("swim", "swam"), ("call", "called"), ("drive", "drove")),
)
CAPITALS = (
    *(("France", "Paris"), ("Italy", "Rome"), ("Spain", "Madrid"), ("Japan", "Tokyo"), ("Egypt", "Cairo")),
    *(
        ("Germany", "Berlin"),
        ("Greece", "Athens"),
        ("Russia", "Moscow"),
        ("Norway", "Oslo"),
        ("Cuba", "Havana"),
    ),
    *(
        ("Austria", "Vienna"),
        ("Ireland", "Dublin"),
        ("Peru", "Lima"),
        ("Kenya", "Nairobi"),
        ("Poland", "Warsaw"),
    ),
)


class Lesson(NamedTuple):
    """What a letter is to be written about, and what it is measured by."""

    prompt: str
    items: list[list[str]]


def _listed(ask: str, pairs: tuple[tuple[str, str], ...]) -> Callable[[random.Random], list[tuple[str, str]]]:
    def draw(source: random.Random) -> list[tuple[str, str]]:
        return [(ask.format(word), answer) for word, answer in source.sample(pairs, len(pairs))]

    return draw


def _sums(source: random.Random) -> list[tuple[str, str]]:
    pairs = [(a, b) for a in range(1, 10) for b in range(1, 10)]
    return [(f"{a} + {b} =", str(a + b)) for a, b in source.sample(pairs, len(pairs))]


def _last_letters(source: random.Random) -> list[tuple[str, str]]:
    words = [word for pairs in (OPPOSITES, PASTS) for pair in pairs for word in pair]
    return [(f"The last letter of {word}?", word[-1]) for word in source.sample(words, len(words))]


KINDS: tuple[Callable[[random.Random], list[tuple[str, str]]], ...] = (
    _listed("The opposite of {}?", OPPOSITES),
    _listed("One {}, two ...?", PLURALS),
    _listed("Today I {}. Yesterday I ...?", PASTS),
    _listed("The capital of {}?", CAPITALS),
    _sums,
    _last_letters,
)


def lessons(source: random.Random, count: int, asked: int) -> Iterator[Lesson]:
    """Yield lessons, the kinds by turns; no question is both shown and asked."""
    for number in range(count):
        drawn = KINDS[number % len(KINDS)](source)
        shown, items = drawn[:SHOWN], drawn[SHOWN : SHOWN + asked]
        examples = " ".join(f"{question} {answer}." for question, answer in shown)
        prompt = (
            "Your younger self will be asked questions like these, but others, and answers with one word: "
            f"{examples} Write it a short letter that helps."
        )
        yield Lesson(prompt, [list(item) for item in items])
