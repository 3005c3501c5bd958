"""Of several samples of one kind, the editor marks one: a star that the others of its kind lose."""

from __future__ import annotations

from memory.curate import Mark, pick, picks, retract
from memory.store import Store
from selves.errors import UsageError
from selves.lineage import Age


async def mark(store: Store, age: Age, kind: str, number: int, editor: str) -> int:
    """Star one writing of a registered age, and no other of its kind; return the pick's number.

    Raises UsageError if the age wrote no such thing.
    """
    card = age.card
    siblings = {
        w.number: w.generation.id
        for w in await store.writings(age.address.lineage)
        if (w.address, w.kind, w.generation.weights_sha256) == (card.address, kind, card.weights_sha256)
    }
    if number not in siblings:
        has = ", ".join(map(str, siblings)) or "none"
        raise UsageError(
            f"{card.address} wrote no {kind} {number}", f"it has {has}: selves diary show {card.address}"
        )
    others = set(siblings.values()) - {siblings[number]}
    for star in await picks(store, kind="star", editor=editor):
        if star.pick.generation_id in others:
            await retract(store, star.pick.id, editor=editor)
    starred = await pick(store, Mark("star"), editor=editor, generation_id=siblings[number])
    return starred.id
