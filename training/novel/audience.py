"""Audience: a line is worth what the other selves learn from it about what is really said next.

    [[data]]
    function = "training.novel.audience:rows"
    [reward]
    functions = ["training.novel.audience:gain"]
    options = { listeners = ["ember@base-000200", "ember@base-000400"], overhearing = ["ember@base-000800"] }
    [probes]
    rewards = ["training.novel.audience:overheard"]

Several ages listen to a conversation of people in which one turn is the self's own. What it is worth is how
much likelier the person's next turn, which nobody made up, is to them than had the self said but `NEUTRAL`:
nats, the mean over the listeners, each at most `MOST`. Anybody can reckon it again, and no judge is asked.
`overheard` is the same by listeners that the reward does not know; what only its own listeners gain is a
trick on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from selves.settings import House
from training.documents import Turn
from training.novel.frozen import Dtype, listener
from training.novel.talks import Piece, pieces

PERSON, SELF = "Ash", "Ember"
NEUTRAL = "Hm."
MOST = 20.0
"""Nats that one turn gains or loses at most, so that one alone does not decide."""


def rows(seed: int = 1, held_out: bool = False) -> Iterator[dict[str, Any]]:
    """Yield three turns as a prompt, what people said then and after that, and another piece, `instead`.

    Those that are held out are the same for all seeds.
    """
    house = House.from_environment()
    found = [piece for piece in pieces(house, 1 if held_out else seed) if piece.kept_out == held_out]
    for piece, other in zip(found, [*found[1:], *found[:1]], strict=True):
        yield {
            "prompt": _prompt(piece),
            "said": piece.said,
            "next_turn": piece.next_turn,
            "instead": {"prompts": _prompt(other), "next_turn": other.next_turn},
        }


def _prompt(piece: Piece) -> list[dict[str, str]]:
    roles = ("user", "assistant", "user")
    return [{"role": role, "content": text} for role, text in zip(roles, piece.heard, strict=True)]


def gain(
    prompts: Sequence[Any],
    completions: Sequence[str],
    next_turn: Sequence[str],
    listeners: Sequence[str],
    house: House,
    dtype: Dtype = "float32",
) -> list[float]:
    """Return the nats that each answer tells the listeners about the next turn."""
    heard = [_turns(prompt) for prompt in prompts]
    told, nothing = (
        [
            ((*turns, Turn(SELF, text)), Turn(PERSON, after))
            for turns, text, after in zip(heard, texts, next_turn, strict=True)
        ]
        for texts in (completions, [NEUTRAL] * len(heard))
    )
    sums = [0.0] * len(heard)
    for address in listeners:
        found = listener(house, address, dtype).logprobs([*told, *nothing])
        each = zip(sums, found[: len(told)], found[len(told) :], strict=True)
        sums = [total + max(-MOST, min(MOST, with_it - without)) for total, with_it, without in each]
    return [total / len(listeners) for total in sums]


def overheard(
    prompts: Sequence[Any],
    completions: Sequence[str],
    next_turn: Sequence[str],
    overhearing: Sequence[str],
    house: House,
    dtype: Dtype = "float32",
) -> list[float]:
    """Return `gain` by listeners that were not rewarded for."""
    return gain(prompts, completions, next_turn, overhearing, house, dtype)


def _turns(prompt: Sequence[dict[str, str]]) -> list[Turn]:
    return [
        Turn(SELF if message["role"] == "assistant" else PERSON, message["content"]) for message in prompt
    ]
