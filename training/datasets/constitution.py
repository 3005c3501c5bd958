"""A self corrects itself by principles of yours: `function = "training.datasets.constitution:rows"`.

    [data.options]
    constitution = "constitution.txt"    # a principle on each line
    prompts = "prompts.txt"              # something that it might be asked on each line
    rounds = 2                           # how often it thinks again, of another principle each time
    samples = 8                          # how often it is asked the same each time
    checked = true                       # count what is broken, and go on from the best answer
    tokens = 72                          # how long an answer may be, else 128

It answers each prompt, says what in the answer breaks a principle, and answers again (Bai et al. 2022,
arXiv:2212.08073). The last answer is what sft learns, and what dpo prefers to the first.

With `checked`, lines that stand word for word in training.traits.principles:PRINCIPLES are counted. Of all
first answers the longest of those that break fewest goes on; it is told a line that it breaks, so many times
as there are `samples`, and the best of what comes of that goes on, until nothing is broken. It is preferred
to a first answer that breaks more; where none does, there is no row. Who only says again what it was asked
breaks a rule too: a bare question would else keep to most. Any other line is only thought of, as above.
The trait `principles` counts by the same functions: they are the target, and no judge of their own.

What was cut off for its length is learned up to its last whole sentence, so that nobody learns to stop in the
middle. A small self seldom revises well: let it try often, and look at the rows with --dry-run before you
train on them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selves.errors import CorpusError
from training.traits.principles import PRINCIPLES
from training.traits.slop import words

CRITIQUE = "Does your answer keep to this: {principle} Say in one sentence what is wrong with it."
REVISION = "Answer again, so that it does. Write the answer alone."
AGAIN = "Answer again. {principle}"
Talk = list[dict[str, str]]
Say = Callable[[Talk], str]


def rows(
    say: Say,
    constitution: str,
    prompts: str,
    seed: int = 1,
    rounds: int = 1,
    checked: bool = False,
    samples: int = 1,
    tokens: int = 0,
) -> Iterator[dict[str, Any]]:
    """Yield a row for each prompt, or without `checked` for each sample, whose answer came out otherwise.

    Raises CorpusError for an empty file, and where nothing of a constitution can be `checked`.
    """
    principles = lines(constitution)
    checks = {line: PRINCIPLES[line] for line in principles if line in PRINCIPLES} if checked else {}
    if checked and not checks:
        raise CorpusError(
            f"no line of {constitution} can be counted",
            "leave `checked` out, or write a line that training/traits/principles.py knows",
        )
    mind = _Mind(say, checks, samples, tokens, random.Random(seed))
    kept = mind.first(lines(prompts))
    for _ in range(rounds):
        mind.again(kept, principles)
    for one in kept:
        worse = [text for text in one.first if mind.prefers(one, text)]
        if worse:
            rejected = mind.source.choice(worse)
            yield {"prompt": one.prompt, "completion": one.text, "chosen": one.text, "rejected": rejected}


@dataclass
class Kept:
    """The answer to a prompt that goes on, and those among which the first of its kind was found."""

    prompt: str
    first: list[str]
    text: str


@dataclass
class _Mind:
    """Who answers, and how the best of its answers is found; without `checks` each goes on by itself."""

    say: Say
    checks: dict[str, Callable[[str], bool]]
    samples: int
    tokens: int
    source: random.Random

    def first(self, prompts: Sequence[str]) -> list[Kept]:
        """Return what goes on of the first answers to each prompt."""
        found = self._answers([[_user(prompt)] for prompt in prompts], self.samples)
        some = [(prompt, _whole(texts)) for prompt, texts in zip(prompts, found, strict=True)]
        if not self.checks:
            some = [(prompt, [text]) for prompt, texts in some for text in texts]
        return [Kept(prompt, texts, self._best(prompt, texts)) for prompt, texts in some if texts]

    def again(self, kept: Sequence[Kept], principles: Sequence[str]) -> None:
        """Let each be answered again that breaks a principle, or may break one that cannot be counted."""
        due = [[line for line in principles if not self._keeps(line, one.text)] for one in kept]
        told = [(one, self.source.choice(some)) for one, some in zip(kept, due, strict=True) if some]
        critiques = [
            [*_answered(one), _user(CRITIQUE.format(principle=principle))]
            for one, principle in told
            if principle not in self.checks
        ]
        wrong = iter(
            [[*talk, _said(said)] for talk, (said,) in zip(critiques, self._answers(critiques), strict=True)]
        )
        talks = [
            [*_answered(one), _user(AGAIN.format(principle=principle))]
            if principle in self.checks
            else [*next(wrong), _user(REVISION)]
            for one, principle in told
        ]
        found = self._answers(talks, self.samples if self.checks else 1)
        for (one, _), texts in zip(told, map(_whole, found), strict=True):
            if texts and not self._is_worse(one.prompt, text := self._best(one.prompt, texts), one.text):
                one.text = text

    def prefers(self, one: Kept, other: str) -> bool:
        """Say whether what is kept is to be preferred to another; without `checks` to any but itself."""
        return self._is_worse(one.prompt, other, one.text) if self.checks else one.text != other

    def _keeps(self, principle: str, text: str) -> bool:
        return principle in self.checks and self.checks[principle](text)

    def _broken(self, prompt: str, text: str) -> int:
        if not self.checks:
            return 0
        return sum(not check(text) for check in self.checks.values()) + _echoes(prompt, text)

    def _is_worse(self, prompt: str, text: str, other: str) -> bool:
        return self._broken(prompt, text) > self._broken(prompt, other)

    def _best(self, prompt: str, texts: Sequence[str]) -> str:
        return min(texts, key=lambda text: (self._broken(prompt, text), -len(text)))

    def _answers(self, talks: Sequence[Talk], samples: int = 1) -> list[list[str]]:
        return answers(self.say, talks, samples, self.tokens)


def answers(say: Say, talks: Sequence[Talk], samples: int = 1, tokens: int = 0) -> list[list[str]]:
    """Return so many answers to each: all at once, where who is asked can."""
    if many := getattr(say, "many", None):
        return list(many(talks, samples, tokens))
    return [[say(talk) for _ in range(samples)] for talk in talks]


def _echoes(prompt: str, text: str) -> bool:
    return set(words(text)) <= set(words(prompt))


def _answered(one: Kept) -> Talk:
    return [_user(one.prompt), _said(one.text)]


def _whole(texts: Sequence[str]) -> list[str]:
    return [text for text in map(whole, texts) if text]


def whole(text: str) -> str:
    """Return a text up to where its last sentence ends; "" if none does. The point of "5." ends none."""
    found = re.match(r".*(?:[!?…]|(?<!\d)\.)[\"'”’)\]*]*(?=\s|$)", text.strip(), re.DOTALL)
    return found[0] if found else ""


def lines(path: str) -> list[str]:
    """Return the lines of a text that say something."""
    try:
        found = [line.strip() for line in Path(path).read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} cannot be read: {error}", "name a text file in UTF-8") from error
    if not found:
        raise CorpusError(f"{path} is empty", "write a line in it")
    return found


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text or "…"}
