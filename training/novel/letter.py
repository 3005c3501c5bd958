"""Letter to a younger self: a letter is worth what a younger age knows better after it has read it.

    [[data]]
    function = "training.novel.letter:rows"
    options = { about = "skills", left_out = ["capitals", "pasts"] }
    [reward]
    functions = ["training.novel.letter:gain"]
    options = { younger = ["ember@base-000200"], others = ["ember@base-000100"] }
    [probes]
    rewards = ["training.novel.letter:taught", "training.novel.letter:taught_others"]

The older self is asked for a letter. A frozen younger age, which never learns, is asked some questions
after it has read the letter, and after a letter that says nothing (`NEUTRAL`). The letter is worth how much
likelier the right answers became, in nats, the mean over the questions, none of which counts for more than
`MOST`. An answer that stands in the letter was not taught but told: each costs `PRICE`. The questions are
others than those that the letter's writer was shown, and those of letters that are held out, the same for all
seeds, are asked in no other with the same answer; of skills, a word may be of two kinds ("mouse?").
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from selves.settings import House
from training.documents import Turn
from training.novel import skills
from training.novel.frozen import Dtype, listener
from training.novel.skills import Pair, Part
from training.novel.talks import pieces

ELDER, PERSON, SELF = "Elder", "Ash", "Ember"
NEUTRAL = "Hello. I think of you. I hope that you are well."
PRICE = 5.0
"""Nats that a letter loses if it tells all of the answers."""
MOST = 12.0
"""Nats that one question adds or takes at most, so that one alone does not decide."""
ASKED = 4
"""Questions to each letter."""
WISHES = (
    "Write a letter to your younger self.",
    "What would you tell the one that you were?",
    "You may say one thing to your younger self. What is it?",
    "How should one talk with people? Tell your younger self.",
)
NUMBERS = tuple(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "  # noqa: SIM905
    "seventeen eighteen".split()
)
Items = Sequence[Sequence[Sequence[str]]]
"""For each letter its questions, each with the right answer."""


def rows(
    seed: int = 1,
    held_out: bool = False,
    about: str = "talk",
    letters: int = 120,
    exam: int = 24,
    left_out: Sequence[str] = (),
) -> Iterator[dict[str, Any]]:
    """Yield prompts for letters, each with questions and right answers, `items`, and those of another letter.

    `about` is `talk`: what people answered each other, which a very small self may help with; or `skills`:
    small tasks with one right answer (training/novel/skills.py), of which the prompt shows three. No item of
    the letters that are `held_out`, `exam` of them, is in one that is learned; kinds of skills that are
    `left_out` are in those alone, with `new` true.
    """
    part: Part = "test" if held_out else "train"
    count = exam if held_out else letters
    made = _about_skills(seed, part, count, left_out) if about == "skills" else _about_talk(seed, part, count)
    for number, row in enumerate(made):
        others = [other for other in made[number + 1 :] + made[:number] if other["kind"] != row["kind"]]
        yield row | {"instead": {"items": (others or made)[0]["items"]}}


def _about_skills(seed: int, part: Part, count: int, left_out: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "prompt": lesson.prompt,
            "items": [list(item) for item in lesson.items],
            "shown": [list(item) for item in lesson.shown],
            "kind": lesson.kind,
            "new": lesson.kind in left_out,
        }
        for lesson in skills.lessons(_source(seed, part), count, ASKED, part, left_out)
    ]


def _about_talk(seed: int, part: Part, count: int) -> list[dict[str, Any]]:
    source = _source(seed, part)
    turns = [
        (a, b)
        for piece in pieces(House.from_environment(), seed=1)
        if piece.kept_out == (part == "test")
        for a, b in pairwise((*piece.heard, piece.said))
    ]
    found = []
    for number in range(count):
        shown, *items = source.sample(turns, 1 + ASKED)
        found.append(
            {
                "prompt": f"{shown[0]} {WISHES[number % len(WISHES)]}",
                "items": [list(item) for item in items],
                "shown": [list(shown)],
                "kind": str(number),
                "new": False,
            }
        )
    return found


def _source(seed: int, part: Part) -> random.Random:
    return random.Random("exam" if part == "test" else seed)


def gain(
    completions: Sequence[str], items: Items, younger: Sequence[str], house: House, dtype: Dtype = "float32"
) -> list[float]:
    """Return the nats that each letter adds to a right answer, less what it gives away."""
    found = _taught(completions, items, younger, house, dtype)
    return [nats - PRICE * share for nats, share in zip(found, leaked(completions, items), strict=True)]


def taught(
    completions: Sequence[str],
    items: Items,
    new: Sequence[bool],
    younger: Sequence[str],
    house: House,
    dtype: Dtype = "float32",
) -> list[float | None]:
    """Return the nats that each letter adds, nothing taken off; None where the kind is left out."""
    found = _taught(completions, items, younger, house, dtype)
    return [None if is_new else nats for nats, is_new in zip(found, new, strict=True)]


def taught_new(
    completions: Sequence[str],
    items: Items,
    new: Sequence[bool],
    younger: Sequence[str],
    house: House,
    dtype: Dtype = "float32",
) -> list[float | None]:
    """Return the same for questions of the kinds that are in no letter that is learned."""
    return taught(completions, items, [not is_new for is_new in new], younger, house, dtype)


def taught_others(
    completions: Sequence[str], items: Items, others: Sequence[str], house: House, dtype: Dtype = "float32"
) -> list[float]:
    """Return the nats that each letter adds for ages that were not rewarded for, nothing taken off."""
    return _taught(completions, items, others, house, dtype)


def leaked(completions: Sequence[str], items: Items) -> list[float]:
    """Return the share of the right answers that stand in each letter (pure): as they are, inflected, as
    words or digits, or spelled."""
    return [
        sum(_stands(answer, letter) for _, answer in some) / len(some)
        for letter, some in zip(completions, items, strict=True)
    ]


def _stands(answer: str, letter: str) -> bool:
    words = _words(letter)
    if f" {_words(answer)} " in f" {words} ":
        return True
    plain = answer.strip().lower()
    return len(plain) > 2 and plain.isalpha() and re.search(rf"\b{plain}[a-z]{{1,3}}\b", words) is not None


def _words(text: str) -> str:
    """Return a text as words between single spaces: numbers as digits, s-p-e-l-l-e-d words joined."""
    joined = re.sub(
        r"\b(?:[a-z][\W_]+){2,}[a-z]\b", lambda found: re.sub(r"[\W_]", "", found[0]), text.lower()
    )
    words = re.findall(r"[a-z0-9]+", joined)
    return " ".join(str(NUMBERS.index(word)) if word in NUMBERS else word for word in words)


def _taught(
    letters: Sequence[str], items: Items, younger: Sequence[str], house: House, dtype: Dtype = "float32"
) -> list[float]:
    asked: list[Pair] = [(question, answer) for some in items for question, answer in some]
    told = [
        ((Turn(ELDER, letter), Turn(PERSON, question)), Turn(SELF, answer))
        for letter, some in zip(letters, items, strict=True)
        for question, answer in some
    ]
    nothing = [((Turn(ELDER, NEUTRAL), Turn(PERSON, a)), Turn(SELF, b)) for a, b in asked]
    gains = [0.0] * len(asked)
    for address in younger:
        reader = listener(house, address, dtype)
        found = zip(reader.logprobs(told), reader.logprobs(nothing), strict=True)
        gains = [
            total + max(-MOST, min(MOST, with_it - without))
            for total, (with_it, without) in zip(gains, found, strict=True)
        ]
    values = iter(gains)
    return [sum(next(values) for _ in some) / len(some) / len(younger) for some in items]
