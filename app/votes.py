"""What a person thinks of answers: the best of them, blind or not, and a star on one worth keeping."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from app.answers import Answers
from app.chorus import Kept
from memory import curate, feedback
from memory.store import Store, open_store
from selves.settings import House

VIA = "parlor"
EDITOR = "editor"
"""In whose name texts are starred, quoted, tagged and read here; the command line's too, if not said."""
EQUAL = "equal"


def shuffled(addresses: Sequence[str], occasion: str) -> tuple[str, ...]:
    """Return ages in an order drawn by what names the occasion, so that places tell nothing (pure)."""
    order = sorted(addresses)
    random.Random(occasion).shuffle(order)
    return tuple(order)


def vote_key(one: int, other: int) -> str:
    """What makes the vote on two samples single in this parlor (pure)."""
    lower, upper = sorted((one, other))
    return f"{VIA}:vote:{lower}:{upper}"


async def vote(
    store: Store,
    one: int,
    other: int,
    value: Literal["first", "second", "both", "neither"],
    *,
    blind: bool,
    person_id: int | None,
) -> None:
    """Keep which of two samples is better; `one` was shown first."""
    await feedback.keep(
        store,
        "vote",
        one,
        other_id=other,
        value=value,
        shown_first=one,
        blind=blind,
        person_id=person_id,
        via=VIA,
        key=vote_key(one, other),
    )


async def vote_for(house: House, answers: Answers, order: Sequence[str], best: str, *, blind: bool) -> int:
    """Keep that one answer is better than each other, or that all are EQUAL; return how many votes.

    `order` is how they were shown. Raises StoreError.
    """
    there = [(address, kept) for address in order if (kept := answers.by_age[address].kept)]
    pairs = [
        (one, other)
        for n, one in enumerate(there)
        for other in there[n + 1 :]
        if best in (EQUAL, one[0], other[0])
    ]
    async with open_store(house.database_url) as store:
        asked = await store.messages(answers.scene_id) if answers.scene_id is not None else []
        person_id = next((m.person_id for m in asked if m.human), None)
        for (address, one), (_, other) in pairs:
            value: Literal["first", "second", "both"] = (
                "both" if best == EQUAL else "first" if best == address else "second"
            )
            await vote(store, one.generation_id, other.generation_id, value, blind=blind, person_id=person_id)
    return len(pairs)


async def star(house: House, kept: Kept) -> curate.Pick:
    """Keep an answer as a pick. Raises StoreError."""
    async with open_store(house.database_url) as store:
        return await curate.pick(
            store,
            curate.Mark("star"),
            editor=EDITOR,
            message_id=kept.message_id,
            generation_id=None if kept.message_id is not None else kept.generation_id,
        )
