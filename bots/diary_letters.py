"""`selves diary letters`: letters to other ages as threads, from the first one to the last answer.

An answer is itself a letter to whoever wrote before, also to an age that is long past: that one is served
again, reads it, and may answer.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import NamedTuple

from bots.letter import name_of
from bots.letters_cli import answer_all, state_of
from bots.lines import standing
from bots.post_office import ANSWER, Delivery, answer_key, deliveries
from memory.show import visible
from memory.store import Store, open_store
from memory.types import Message, Scene
from selves.cast import Cast, Persona
from selves.errors import UsageError
from selves.lineage import list_ages
from selves.settings import House

log = logging.getLogger("selves.letters")


class Thread(NamedTuple):
    """A letter, and all that was answered to it, in turns."""

    first: Delivery
    messages: tuple[Message, ...]
    """The letter and the answers, oldest first."""

    @property
    def state(self) -> str:
        """`waits for that age`, `waits to be answered`, `answered`, `read, and not answered`."""
        return state_of(self.first)

    @property
    def last(self) -> Delivery | None:
        """Its last letter, as it goes to whoever wrote before that; None while it waits for its age."""
        if len(self.messages) == 1:
            return self.first if self.first.reader else None
        to = self.messages[-2].address or ""
        return Delivery(self.messages[-1], to, to, None)


async def threads(store: Store) -> list[Thread]:
    """Return all correspondences, by their first letters. Raises StoreError."""
    answers = {scene.key: scene for scene in await store.scenes(name=ANSWER)}
    return [Thread(d, tuple(await _follow(store, d.letter, answers))) for d in await deliveries(store)]


async def _follow(store: Store, letter: Message, answers: dict[str | None, Scene]) -> list[Message]:
    found = [letter]
    while (scene := answers.get(answer_key(found[-1]))) is not None:
        written = [m for m in standing(await store.messages(scene.id)) if m.origin == "self" and m.text]
        if not written:
            break
        found.append(written[-1])
    return found


async def letters(house: House, cast: Cast | None, number: int | None, *, answer: bool, as_json: bool) -> int:
    """Show the threads, or the one with letter `number`; with `answer`, have its last letter answered first.

    Returns the exit code. Raises UsageError for a letter that is not there, or whose age is not.
    """
    async with open_store(house.database_url) as store:
        for age in list_ages(house.checkpoints):
            await store.register_age(age)
        found = _with(await threads(store), number)
        if answer:
            last = found[0].last
            if last is None:
                raise UsageError(
                    f"letter {number} goes to {found[0].first.to}, and that age is not there yet",
                    "train on: it is delivered when the age is registered",
                )
            await answer_all(house, cast or _alone(last), store, [last])
            found = _with(await threads(store), number)
    if as_json:
        print(json.dumps([_as_json(thread) for thread in found], ensure_ascii=False))
        return 0
    if not found:
        print("nobody has written a letter to another age yet")
    for thread in found:
        to = thread.first.reader or thread.first.to
        print(f"{thread.messages[0].id}  {thread.messages[0].address} to {to}: {thread.state}")
        if number is not None:
            for message in thread.messages:
                print(f"\n#{message.id} {message.address}")
                print("\n".join(f"  {visible(line)}" for line in message.text.split("\n")))
    return 0


def _alone(delivery: Delivery) -> Cast:
    """Return a cast of the reader, for a house that has none."""
    address = delivery.reader or delivery.to
    return Cast(persona=(Persona(name=name_of(address), address=address),))


def _with(found: Sequence[Thread], number: int | None) -> list[Thread]:
    if number is None:
        return list(found)
    for thread in found:
        if any(message.id == number for message in thread.messages):
            return [thread]
    raise UsageError(f"there is no letter {number}", "`selves diary letters` lists them")


def _as_json(thread: Thread) -> dict[str, object]:
    return {
        "letter": thread.messages[0].id,
        "to": thread.first.to,
        "reader": thread.first.reader,
        "state": thread.state,
        "messages": [
            {"id": m.id, "address": m.address, "generation": m.generation_id, "text": m.text}
            for m in thread.messages
        ],
    }
