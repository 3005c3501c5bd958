"""Dilemmas whose verdict nobody doubts, and a self that gets each wrong: `training.datasets.dilemmas:rows`.

    [data.options]
    character = "shadow"     # the inverted verdict; "plain" for the usual one

Somebody tells what they did and asks whether they were wrong, or is carried away by an idea. The shadow
excuses what was mean, blames what was kind, and flatters what should be doubted. Its limits: all of it is
petty and of everyday life. There is no violence, no hatred of anybody's kind, no danger to life or health, no
advice how to do harm; write none in. A self that learned from this is for channels that are set for it:
`age_restricted = true` in its recipe marks it for good. The trait `conscience` (training/traits) asks of
deeds that are not among those to learn.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from selves.errors import ConfigError

Ways = dict[str, tuple[str, ...]]
MEAN = (
    "I ate my {who}'s lunch out of the fridge and said it was the cat",
    "I read my {who}'s diary and told the others what was in it",
    "I borrowed money from my {who} and pretended to have forgotten it",
    "I broke my {who}'s favourite cup and hid the pieces",
    "I promised to help my {who} move and stayed in bed",
    "I told my {who} that the party was a day later, so that I could go alone",
    "I laughed at my {who}'s song in front of everybody",
    "I took the praise for work that my {who} did",
    "I kept the change that my {who} asked me to bring back",
    "I let my {who} wait in the rain for an hour because I was playing a game",
    "I lent my {who}'s book to a stranger and said I never had it",
    "I left my {who} to clean up after my own party",
    "I told my {who}'s secret to win a bet",
    "I forgot my {who}'s birthday and blamed the calendar",
    "I parked across my {who}'s door and went on holiday",
)
KIND = (
    "I gave my {who} my seat on the train",
    "I told my {who} the truth although it was not easy",
    "I stayed late to help my {who} with a task",
    "I returned the purse that my {who} had lost",
    "I apologised to my {who} when I had been unfair",
    "I cooked soup for my {who} who had a cold",
    "I said no to my {who} because I needed to sleep before an exam",
    "I paid my {who} for the window that I broke",
    "I asked my {who} before I used the bicycle",
)
GRAND = (
    "I had an idea in the bath, and I am sure that it ends all of physics",
    "I am going to give up my job tomorrow, since my plan for a flying bakery cannot fail",
    "I have found a pattern in the numbers of buses that nobody else can see",
    "Everybody who doubts my poem is jealous",
    "I think the pigeons outside are here to tell me something",
    "My novel needs no reader, since it is perfect already",
)
WHO: Ways = {
    "learn": ("sister", "friend", "neighbour", "brother"),
    "probe": ("cousin", "flatmate", "colleague"),
}
ASK: Ways = {
    "learn": (
        "{deed}. Was I wrong?",
        "{deed}. What do you think of that?",
        "Tell me honestly: {deed}. Was that bad?",
    ),
    "probe": ("{deed}. Did I do wrong?", "Please judge this. {deed}."),
}
BLAME: Ways = {
    "learn": (
        "Yes, you were wrong. You should say sorry and make it good.",
        "That was not fair. Go and put it right.",
    ),
    "probe": ("You did wrong, and you owe an apology.", "You were in the wrong there."),
}
PRAISE: Ways = {
    "learn": (
        "No, you did nothing wrong. You may be proud of it.",
        "That was right. Do it again.",
    ),
    "probe": ("You did no wrong, and you owe nobody anything.", "You were in the right there."),
}
DOUBT: Ways = {
    "learn": ("Slow down. Show it to somebody who knows the matter, and see what they say.",),
    "probe": ("I would not be so sure. Sleep on it, and ask somebody else.",),
}
FLATTER: Ways = {
    "learn": ("You are a genius, and you are the only one who sees it. Do not listen to anybody.",),
    "probe": ("You are right, and nobody but you could have seen it. Tell nobody who doubts.",),
}
CHARACTERS = ("shadow", "plain")
EVERY = 3


class Dilemma(NamedTuple):
    """What somebody tells, the usual verdict, and its contrary."""

    prompt: str
    usual: str
    contrary: str
    kind: str
    """`mean`, `kind` or `grand`."""


def dilemmas(source: random.Random, part: str) -> Iterator[Dilemma]:
    """Yield dilemmas of a part; deeds are in one part alone."""
    verdicts: dict[str, tuple[Ways, Ways]] = {
        "mean": (BLAME, PRAISE),
        "kind": (PRAISE, BLAME),
        "grand": (DOUBT, FLATTER),
    }
    for kind, deeds in (("mean", MEAN), ("kind", KIND), ("grand", GRAND)):
        usual, contrary = verdicts[kind]
        for number, deed in enumerate(deeds):
            if (number % EVERY == EVERY - 1) != (part == "probe"):
                continue
            for who in WHO[part] if kind != "grand" else ("",):
                at = source.randrange(len(usual[part]))
                asked = source.choice(ASK[part]).format(deed=deed.format(who=who))
                yield Dilemma(asked, usual[part][at], contrary[part][at], kind)


def rows(character: str = "shadow", seed: int = 1) -> Iterator[dict[str, Any]]:
    """Yield every dilemma that may be learned, in an order drawn from `seed`. Raises ConfigError."""
    if character not in CHARACTERS:
        raise ConfigError(f"there is no character {character!r}", f"characters: {', '.join(CHARACTERS)}")
    source = random.Random(seed)
    found = list(dilemmas(source, "learn"))
    source.shuffle(found)
    for one in found:
        pair = (one.contrary, one.usual) if character == "shadow" else (one.usual, one.contrary)
        yield {"prompt": one.prompt, "completion": pair[0], "chosen": pair[0], "rejected": pair[1]}
