"""From a platform's ids to what is kept: which message stands there, and who somebody is here."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from memory import rows, statements
from memory.consent import Consents, consents_of
from memory.people import Known, meet, person_with_id, read_messages
from memory.types import Message, Scene
from selves.errors import StoreError

if TYPE_CHECKING:
    from memory.store import Store


async def message_at(store: Store, platform_id: int) -> Message | None:
    """Return the message that has this id on its platform; None if it was never kept."""
    async with store.reading(brief=True) as session:
        row = (await session.execute(statements.MESSAGES_AT, {"ids": [platform_id]})).first()
        return None if row is None else (await read_messages(session, [row]))[0]


async def person_at(store: Store, platform: str, user_id: int) -> Known:
    """Return who this user is here; somebody new is met. The id itself is not kept."""
    async with store.writing(brief=True) as session:
        return await meet(session, store.house, platform, user_id, store.clock())


async def consents_at(store: Store, platform: str, user_id: int) -> Consents:
    """Return what this user last said of each purpose; nobody is met by it."""
    async with store.reading(brief=True) as session:
        person = await person_with_id(session, store.house, platform, user_id)
        if person is None:
            return {}
        return (await consents_of(session, [person.id]))[person.id]


async def messages_until(store: Store, message: Message, last: int) -> list[Message]:
    """Return a message and what was said before it in its scene: `last` lines at most, in order."""
    where = {"scene_id": message.scene_id, "sequence": message.sequence, "last": last}
    async with store.reading(brief=True) as session:
        found = await session.execute(statements.UP_TO, where)
        return await read_messages(session, found.all()[::-1])


class Asked(NamedTuple):
    """A message and what it is answered from."""

    message: Message
    lines: list[Message]
    """Of its scene, in order: the newest, the message among them unless it is older."""
    scene: Scene


async def asked_in(store: Store, message_id: int, last: int, *, until: bool = False) -> Asked:
    """Return a message, its scene, and `last` lines of it at most: the newest, or `until` the message.

    Raises StoreError if there is no such message.
    """
    async with store.reading(brief=True) as session:
        row = (await session.execute(statements.MESSAGE, {"id": message_id})).first()
        if row is None:
            raise StoreError(f"there is no message {message_id} in the database")
        where = {"scene_id": row.scene_id, "last": last}
        newest = (
            session.execute(statements.UP_TO, {**where, "sequence": row.sequence})
            if until
            else session.execute(statements.NEWEST, where)
        )
        found = (await newest).all()[::-1]
        scene = (await session.execute(statements.SCENE, {"id": row.scene_id})).one()
        lines = await read_messages(session, found)
        there = next((line for line in lines if line.id == message_id), None)
        message = there or (await read_messages(session, [row]))[0]
        return Asked(message, lines, rows.to_scene(scene))
