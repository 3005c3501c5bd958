"""What is asked of every system, and what is made of its answers. Pure.

Prompts are numbered, and none is used twice in a visit, so that no system can answer from what it kept of an
earlier one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

STREAMS = 8
WORKLOADS = {
    "one": "one stream",
    "eight": "eight streams of one age",
    "ages": "eight different ages at once, one stream each",
}
PROMPTS_A_REPEAT = 1 + STREAMS + STREAMS
WORDS = (
    "rain bread maps sea walks tea books letters window garden river winter morning kitchen stone bird night "
    "song water road paper light horse hill market friend fire clock lamp"
)
"""What prompts are made of."""
NO_END = -1
"""An end token that no model says: transformers then goes on to the length that was asked for."""
UNDECODED = "\ufffd"


class Plan(NamedTuple):
    """How much is asked."""

    prompt_tokens: int = 48
    new_tokens: int = 64
    repeats: int = 3
    """Measured runs of each workload in a visit; one that is not measured comes before them."""


QUICK = Plan(prompt_tokens=12, new_tokens=8, repeats=1)


class Prompt(NamedTuple):
    """The same text for all; programs that take token ids get those of the age's own tokenizer."""

    text: str
    ids: list[int]


class Ask(NamedTuple):
    """One sequence that is asked for."""

    age: int
    """Which of the model's ages, from 0."""
    number: int
    """Of the prompt."""
    prompt: Prompt


class Answer(NamedTuple):
    """What came of an ask; times are seconds since the first of those asked together was sent."""

    first_s: float
    end_s: float
    tokens: int
    ids: list[int] | None
    """None from servers that tell the text only."""
    text: str = ""


def make_prompts(plan: Plan, encode: Callable[[str], list[int]]) -> list[Prompt]:
    """Return the prompts of a visit, each exactly `plan.prompt_tokens` long, no two of which begin alike."""
    prompts: list[Prompt] = []
    begun: set[tuple[str, ...]] = set()
    source = random.Random(7)
    while len(prompts) < (plan.repeats + 1) * PROMPTS_A_REPEAT:
        words = source.choices(WORDS.split(), k=plan.prompt_tokens)
        if tuple(words[:4]) in begun:
            continue
        for count in range(len(words), 0, -1):
            text = " ".join(words[:count]).capitalize()
            ids = encode(text)
            if len(ids) == plan.prompt_tokens:
                prompts.append(Prompt(text, ids))
                begun.add(tuple(words[:4]))
            if len(ids) <= plan.prompt_tokens:
                break
    return prompts


def asks_of(workload: str, repeat: int, prompts: Sequence[Prompt], ages: int) -> list[Ask]:
    """Return what is asked at once; repeat 0 is the one that is not measured."""
    first = repeat * PROMPTS_A_REPEAT
    places = {
        "one": [(0, first)],
        "eight": [(0, first + 1 + n) for n in range(STREAMS)],
        "ages": [(n % ages, first + 1 + STREAMS + n) for n in range(STREAMS)],
    }[workload]
    return [Ask(age, number, prompts[number]) for age, number in places]


def measure(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return what is kept of one run."""
    seconds, tokens = max(answer.end_s for answer in answers), sum(answer.tokens for answer in answers)
    return {
        "seconds": round(seconds, 5),
        "tokens": tokens,
        "tokens_per_s": round(tokens / seconds, 3),
        "first_s": [round(answer.first_s, 5) for answer in answers],
    }


def agreement(answer: Answer, reference: Sequence[int], decode: Callable[[list[int]], str]) -> float:
    """Return the share of the reference's tokens that the answer has before it differs for the first time.

    Of an answer without token ids, the text is compared with what each beginning of the reference decodes to;
    half characters do not count, because decoders of streams differ in them.
    """
    if answer.ids is not None:
        same = 0
        for ours, theirs in zip(answer.ids, reference, strict=False):
            if ours != theirs:
                break
            same += 1
        return same / len(reference)
    said = answer.text.replace(UNDECODED, "")
    same = 0
    while same < len(reference):
        if not said.startswith(decode(list(reference[: same + 1])).replace(UNDECODED, "")):
            break
        same += 1
    return same / len(reference)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
