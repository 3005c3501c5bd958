"""Letters to a future self: found, delivered when the age they go to is there, and answered.

A letter goes to an address, or to `future`: the next age in the life of the lineage that wrote it. Selves
write such letters in scenes (`to` in the cast file), and in their diaries while they are trained. Its answer
is a scene of its own that begins at the letter, under a key, so that each letter is answered once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bots.letter import FUTURE, name_of
from memory.letters import letters_sent, take_from_diary
from memory.store import Store
from memory.types import Message, Scene
from selves.cast import Cast, Persona, SceneSpec
from selves.errors import SelvesError
from selves.lineage import Address

log = logging.getLogger("selves.letters")

ANSWER = "answer"
"""The name of every scene in which a letter is answered."""

PlaySoon = Callable[[SceneSpec, str], object]
"""Plays a scene under a key when the floor is free."""


@dataclass(frozen=True)
class Delivery:
    """A letter and whom it reaches."""

    letter: Message
    to: str
    """`future` or an address, as it was written."""
    reader: str | None
    """The address of the age that it goes to; None: that age does not exist yet."""
    answer: Scene | None
    """The scene in which it is answered, if that was begun."""

    @property
    def key(self) -> str:
        """What makes its answer single in the database."""
        return answer_key(self.letter)


def answer_key(letter: Message) -> str:
    return f"answer:{letter.id}"


async def deliveries(store: Store, *, diaries: bool = True) -> list[Delivery]:
    """Return all letters to ages, oldest first; those in diaries become messages, so that they are found."""
    if diaries:
        for writing in await store.writings():
            # of several tries to write the same letter, the first was sent
            if writing.to and not writing.number and writing.generation.text:
                await take_from_diary(store, writing, name_of(writing.address))
    lives: dict[str, list[str]] = {}
    for checkpoint in await store.checkpoints():
        lives.setdefault(Address.parse(checkpoint.address).lineage, []).append(checkpoint.address)
    answers = {s.key: s for s in await store.scenes(name=ANSWER)}
    found = []
    for letter, to in await letters_sent(store):
        reader = reader_of(letter.address or "", to, lives)
        found.append(Delivery(letter, to, reader, answers.get(answer_key(letter))))
    return found


def reader_of(writer: str, to: str, lives: Mapping[str, Sequence[str]]) -> str | None:
    """Return the address of the age that a letter goes to, if it is there (pure).

    `lives` has each lineage's ages in order. The future is the next one, as soon as it exists.
    """
    if to != FUTURE:
        return next((age for life in lives.values() for age in life if age == to), None)
    life = list(lives.get(writer.partition("@")[0], ()))
    after = life[life.index(writer) + 1 :] if writer in life else []
    return after[0] if after else None


def answer_of(delivery: Delivery, reader: Persona) -> SceneSpec:
    """Return the scene in which a letter is answered."""
    return SceneSpec(name=ANSWER, kind="answer", cast=(reader.name,), to=delivery.letter.address or "")


def reader_in(cast: Cast, address: str) -> Persona:
    """Return who answers as this age: one of the cast, or the age itself, called by its address."""
    known = next((p for p in cast.persona if p.address == address), None)
    return known or Persona(name=name_of(address), address=address)


async def deliver_soon(store: Store, cast: Cast, place: str, play_soon: PlaySoon) -> int:
    """Have every letter answered that has arrived and waits, at a place where only the cast can speak.

    Returns how many were handed over. Whose reader is not in the cast waits on; so does one that cannot be
    played here now.
    """
    handed = 0
    for delivery in await deliveries(store, diaries=False):
        reader = next((p for p in cast.persona if p.address == delivery.reader), None)
        elsewhere = delivery.answer is not None and delivery.answer.place != place
        ended = delivery.answer is not None and delivery.answer.status == "ended"
        if reader is None or ended or elsewhere or delivery.letter.place != place:
            continue
        spec = answer_of(delivery, reader)
        await store.begin_scene(spec, place=place, key=delivery.key, from_message_id=delivery.letter.id)
        try:
            play_soon(spec, delivery.key)
        except SelvesError as error:
            log.info("a letter to %s waits: %s", delivery.reader, error.problem)
            continue
        handed += 1
    return handed
