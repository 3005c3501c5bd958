"""The person who types in the parlor: who that is in the database, and what they allowed."""

from __future__ import annotations

from bots.parlor import PERSON
from memory.consent import Consents, Purpose, allow, consents_of
from memory.people import find_person, meet
from memory.store import Store
from selves.errors import StoreError

PURPOSES: dict[Purpose, str] = {
    "store": "Keep my words. (Switched off, they are erased 30 days after I said them.)",
    "train": "Selves may be trained on my words.",
    "diary": "Selves may write about my words in their diaries.",
    "publish": "My words may be shown to the public: in a book, on a page, in a data set.",
}
KEPT: Purpose = "store"
"""The one that holds until it is switched off: what is typed at home stays at home."""
NOTICE = "parlor-1"
"""The version of these sentences."""


async def allowed(store: Store) -> Consents:
    """Return what the person in the parlor last said of each purpose; nobody is met by it."""
    async with store.reading() as session:
        try:
            person = await find_person(session, store.house, f"parlor:{PERSON}")
        except StoreError:
            return {}
        return (await consents_of(session, [person.id]))[person.id]


async def set_allowed(store: Store, purpose: Purpose, *, granted: bool) -> None:
    """Note that the person in the parlor allowed a purpose, or took that back."""
    async with store.writing() as session:
        person = await meet(session, store.house, "parlor", PERSON, store.clock())
    await allow(store, person.id, purpose, granted=granted, notice=NOTICE, via="parlor")
