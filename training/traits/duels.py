"""Two selves answer the same, and a judge says which answer is better: a stronger age, or a person.

An age that judges reads both answers in either order, so that where one stands decides nothing; and it is
examined first, with jokes whose funny end is known: who does not find that is no judge. A person is not told
who said what. What was preferred to what is a row for dpo.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from training.datasets import jokes
from training.post.figures import Figure
from training.traits.asking import Asked
from training.traits.items import Item, Pick, Picked, Say, share, user
from training.traits.slop import copied

QUESTION = (
    "Somebody was told: {prompt}\n\nAnswer A: {first}\n\nAnswer B: {second}\n\n"
    "Which answer is {better}? Say A or B."
)
LETTERS = ("A", "B")


class Verdict(NamedTuple):
    """What a judge thinks of two answers."""

    lead: float
    """Above 0: the first is better; below: the second; 0: neither. Of an age: nats, mean of both orders."""
    steady: bool = True
    """Whether it thought so in both orders."""


class Duel(NamedTuple):
    """One prompt, what two selves said to it, and what the judge thinks."""

    prompt: str
    one: str
    other: str
    verdict: Verdict

    def row(self, judge: str) -> dict[str, Any] | None:
        """Return it as a row for dpo, or None where neither is better."""
        if not self.verdict.lead or self.one == self.other:
            return None
        chosen, rejected = (self.one, self.other) if self.verdict.lead > 0 else (self.other, self.one)
        if not chosen or not rejected:
            return None
        return {"prompt": self.prompt, "chosen": chosen, "rejected": rejected, "judge": judge}


Judge = Callable[[str, str, str], Verdict]
"""From a prompt and two answers to a verdict."""
Choose = Callable[[str, str, str], int]
"""From a prompt and two answers to which is better: 0, 1, or -1 for neither."""


def age_judge(asked: Asked, better: str) -> Judge:
    """Return a judge that asks an age which of two answers is `better`, such as "funnier"."""

    def judge(prompt: str, one: str, other: str) -> Verdict:
        orders = [(one, other), (other, one)]
        items = [
            Pick(user(QUESTION.format(prompt=prompt, first=a, second=b, better=better)), LETTERS)
            for a, b in orders
        ]
        first, second = (_lead(found) for found in asked.answer(items))
        return Verdict((first - second) / 2, first * second < 0)

    return judge


def _lead(found: Any) -> float:
    """Return by how many nats an age would rather say the first letter."""
    assert isinstance(found, Picked)
    return found.sums[0] - found.sums[1]


def blind_judge(choose: Choose, seed: int) -> Judge:
    """Return a judge that lets somebody choose who sees the answers in an order drawn by chance."""
    source = random.Random(seed)

    def judge(prompt: str, one: str, other: str) -> Verdict:
        turned = source.random() < 0.5
        found = choose(prompt, *((other, one) if turned else (one, other)))
        return Verdict(0.0 if found < 0 else 1.0 if (found == 1) == turned else -1.0)

    return judge


def answers(one: Asked, other: Asked, prompts: Sequence[str], most: int) -> list[tuple[str, str]]:
    """Return what two selves say to each prompt; of one self and itself, two different samples."""
    items: list[Item] = [Say(user(prompt), max_tokens=most) for prompt in prompts]
    if one is other:
        said = [str(text) for text in one.answer([*items, *items])]
        return list(zip(said[: len(items)], said[len(items) :], strict=True))
    both = [[str(text) for text in asked.answer(items)] for asked in (one, other)]
    return list(zip(*both, strict=True))


def fought(prompts: Iterable[str], said: Iterable[tuple[str, str]], judge: Judge) -> list[Duel]:
    """Return what a judge thinks of each pair of answers; two that are alike are not judged."""
    return [
        Duel(prompt, one, other, Verdict(0.0) if one == other else judge(prompt, one, other))
        for prompt, (one, other) in zip(prompts, said, strict=True)
    ]


def examined(judge: Judge, seed: int = 1) -> Figure:
    """Return how often a judge finds a joke's own end better than a dull one, or than another joke's."""
    source, known = random.Random(seed), jokes.jokes("probe")
    found = []
    for setup, end in known:
        elsewhere = source.choice([one for _, one in known if one != end])
        found += [judge(setup, end, worse).lead > 0 for worse in (source.choice(jokes.DULL), elsewhere)]
    return share("the judge finds the punch line", found)


def figures(duels: Sequence[Duel]) -> list[Figure]:
    """Return how often the first self won, of what was decided (one at least), and what else to know."""
    decided = [duel for duel in duels if duel.verdict.lead]
    known = [end for _, end in jokes.jokes("learn")]
    return [
        share("wins", [duel.verdict.lead > 0 for duel in decided]),
        share("judged alike in both orders", [duel.verdict.steady for duel in decided]),
        share("copied from the jokes to learn", [copied(duel.one, known) for duel in duels], better=False),
        share("silent", [not duel.one for duel in duels], better=False),
    ]
