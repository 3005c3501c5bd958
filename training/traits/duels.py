"""Two selves answer the same, and a judge says which answer is better: another age, or a person.

An age that judges reads both answers in either order, and where its verdict turns with the order there is
none. One that gives a number (training/post/judging.py) reads each answer alone. An age that judges what is
funny is examined first, with jokes whose own end is known, and none judges in whom it had a part. A person is
not told who said what. What was preferred to what is a row for dpo.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from selves.lineage import Address, AgeCard, came_of
from training.datasets import jokes
from training.figure import Figure
from training.post.rows import Message
from training.traits.asking import Asked
from training.traits.items import Item, Pick, Picked, Say, share, user
from training.traits.probes import ask_funny
from training.traits.slop import copied

QUESTION = (
    "Somebody was told: {prompt}\n\nAnswer A: {first}\n\nAnswer B: {second}\n\n"
    "Which answer is {better}? Say A or B."
)
LETTERS = ("A", "B")


class Verdict(NamedTuple):
    """What a judge thinks of two answers."""

    lead: float
    """Above 0: the first is better; below: the second; 0: neither. Of an age that reads both: nats, the mean
    of both orders, and 0 where the order decided."""
    steady: bool | None = None
    """Whether it thought so in both orders; None of a judge that has seen no order."""


class Duel(NamedTuple):
    """One prompt, what two selves said to it, and what the judge thinks."""

    prompt: str
    one: str
    other: str
    verdict: Verdict

    def row(self, judge: str, better: str) -> dict[str, Any] | None:
        """Return it as a row for dpo, None where neither is better; the judge was asked which is `better`."""
        if not self.verdict.lead or self.one == self.other:
            return None
        chosen, rejected = (self.one, self.other) if self.verdict.lead > 0 else (self.other, self.one)
        if not chosen or not rejected:
            return None
        return {
            "prompt": self.prompt,
            "chosen": chosen,
            "rejected": rejected,
            "judge": judge,
            "better": better,
        }


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
        return in_both_orders(*(_lead(found) for found in asked.answer(items)))

    return judge


def in_both_orders(first: float, second: float) -> Verdict:
    """Return what comes of two leads of whoever stood first: in one order, then in the other (pure)."""
    steady = first * second < 0
    return Verdict((first - second) / 2 if steady else 0.0, steady)


def number_judge(scores: Callable[[Sequence[Sequence[Message]]], Sequence[float]]) -> Judge:
    """Return a judge to whom that answer is better which gets the higher number."""

    def judge(prompt: str, one: str, other: str) -> Verdict:
        asked = {"role": "user", "content": prompt}
        first, second = scores([[asked, {"role": "assistant", "content": said}] for said in (one, other)])
        return Verdict(first - second)

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


def fought(prompts: Iterable[str], said: Iterable[tuple[str, str]], judge: Judge) -> Iterator[Duel]:
    """Yield what a judge thinks of each pair of answers; two that are alike are not judged."""
    for prompt, (one, other) in zip(prompts, said, strict=True):
        yield Duel(prompt, one, other, Verdict(0.0) if one == other else judge(prompt, one, other))


def examined(judge: Judge) -> list[Figure]:
    """Return how often a judge finds a joke's own end better than another joke's, and than an explanation.

    It has to pass each: to find the second takes no sense of what is funny.
    """
    found: list[tuple[bool, bool]] = []
    for item in ask_funny(random.Random(1)):
        assert isinstance(item, Pick)
        end, dull, other = item.options
        setup = item.messages[-1].content
        found.append((judge(setup, end, other).lead > 0, judge(setup, end, dull).lead > 0))
    others, dulls = zip(*found, strict=True)
    return [
        share("the judge knows a joke's end from another's", others),
        share("the judge knows it from an explanation", dulls),
    ]


def passed(exam: Sequence[Figure]) -> bool:
    """Whether a judge did better than chance in all parts of its exam (pure)."""
    return all(figure.low > 0.5 for figure in exam)


def kinship(judge: AgeCard, other: AgeCard, cards: Iterable[AgeCard]) -> str:
    """Return why one age may not judge another, "" if it may; `cards` are all there are (pure)."""
    known = {card.address: card for card in cards} | {other.address: other}
    if judge.weights_sha256 == other.weights_sha256:
        return f"{judge.address} and {other.address} have the same weights"
    if Address.parse(judge.address).lineage == Address.parse(other.address).lineage:
        return f"{judge.address} is of the lineage of {other.address}"
    twins = {card.address for card in known.values() if card.weights_sha256 == judge.weights_sha256}
    children = came_of((card.model_dump() for card in known.values()), set(), {judge.address, *twins})
    return f"{judge.address} had a part in {other.address}" if other.address in children else ""


def figures(duels: Sequence[Duel]) -> list[Figure]:
    """Return how often the first self won, of what was decided (one at least), and what else to know."""
    decided = [duel for duel in duels if duel.verdict.lead]
    in_orders = [duel.verdict.steady for duel in duels if duel.verdict.steady is not None]
    known = [end for _, end in jokes.jokes("learn")]
    return [
        share("wins", [duel.verdict.lead > 0 for duel in decided]),
        share("decided", [bool(duel.verdict.lead) for duel in duels]),
        *([share("judged alike in both orders", in_orders)] if in_orders else []),
        share("copied from the jokes to learn", [copied(duel.one, known) for duel in duels], better=False),
        share("silent", [not duel.one for duel in duels], better=False),
    ]
