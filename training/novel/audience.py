"""Audience: a line is worth what the other selves learn from it about what is really said next.

    [[data]]
    function = "training.novel.audience:rows"
    [reward]
    functions = ["training.novel.audience:gain"]
    options = { listeners = ["ember@base-000200", "ember@base-000400"], overhearing = ["ember@base-000800"] }
    [probes]
    rewards = ["training.novel.audience:overheard"]

Several ages listen to a conversation of people in which one turn is the self's own. What it is worth is how
much likelier the person's next turn, which nobody made up, is to them than had that turn been left out: nats,
the mean over the listeners. Anybody can reckon it again, and no judge is asked. `overheard` is the same by
listeners that the reward does not know; what only its own listeners gain is a trick on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from selves.settings import House
from training.documents import Turn
from training.novel.frozen import listener
from training.novel.talks import pieces

PERSON, SELF = "Ash", "Ember"


def rows(seed: int = 1) -> Iterator[dict[str, Any]]:
    """Yield three turns as a prompt, what people said then, and what was said after that."""
    for piece in pieces(House.from_environment(), seed):
        first, second, third = piece.heard
        told = (("user", first), ("assistant", second), ("user", third))
        yield {
            "prompt": [{"role": role, "content": text} for role, text in told],
            "completion": piece.said,
            "next_turn": piece.next_turn,
        }


def gain(
    prompts: Sequence[Any],
    completions: Sequence[str],
    next_turn: Sequence[str],
    listeners: Sequence[str],
    house: House,
) -> list[float]:
    """Return the nats that each answer tells the listeners about the next turn."""
    heard = [_turns(prompt) for prompt in prompts]
    said = [Turn(PERSON, text) for text in next_turn]
    whole = [(*turns, Turn(SELF, text)) for turns, text in zip(heard, completions, strict=True)]
    sums = [0.0] * len(prompts)
    for address in listeners:
        with_it = listener(house, address).logprobs(list(zip(whole, said, strict=True)))
        without = _without(house, address, heard, said)
        sums = [total + w - o for total, w, o in zip(sums, with_it, without, strict=True)]
    return [total / len(listeners) for total in sums]


def overheard(
    prompts: Sequence[Any],
    completions: Sequence[str],
    next_turn: Sequence[str],
    overhearing: Sequence[str],
    house: House,
) -> list[float]:
    """Return `gain` by listeners that were not rewarded for."""
    return gain(prompts, completions, next_turn, overhearing, house)


def _without(
    house: House, address: str, heard: Sequence[Sequence[Turn]], said: Sequence[Turn]
) -> list[float]:
    """Return log p of what is said next, without the answer, reckoned once for each that is there."""
    pairs = list(zip(map(tuple, heard), said, strict=True))
    once = list(dict.fromkeys(pairs))
    found = dict(zip(once, listener(house, address).logprobs(once), strict=True))
    return [found[pair] for pair in pairs]


def _turns(prompt: Sequence[dict[str, str]]) -> list[Turn]:
    return [
        Turn(SELF if message["role"] == "assistant" else PERSON, message["content"]) for message in prompt
    ]
