"""Lines on their way from the store into prompts, and from samples to what is posted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from bots import guard
from bots.letter import name_of
from memory.store import Store
from memory.types import Message, Scene
from selves.cast import Persona
from serving.prompt import Line


def finish(text: str, *, was_cut: bool) -> str:
    """Return a line as it is posted: when the tokens ran out in mid-sentence, only its whole sentences.

    A line without one whole sentence is marked with an ellipsis.
    """
    if not was_cut or not text:
        return text
    whole = re.match(r".*[.!?…][\"'”’)]*(?=\s)", text, re.DOTALL)
    if re.search(r"[.!?…][\"'”’)]*$", text):
        return text
    return whole[0] if whole else f"{text.rstrip(' ,;:-')}…"


def standing(messages: Iterable[Message]) -> list[Message]:
    """Leave out what Discord refused for good: nobody has read it (pure)."""
    return [m for m in messages if m.status != "undelivered"]


def to_lines(messages: Sequence[Message]) -> list[Line]:
    """Turn stored messages into lines for a prompt; erased ones are left out."""
    return [Line(m.speaker, m.text, m.id, m.human) for m in messages if m.text]


async def letter_from(store: Store, scene: Scene, reader: Persona) -> tuple[Persona, Message] | None:
    """Return who wrote the letter that a scene answers, and the letter; None if it answers none.

    A writer who has the reader's name, as a younger age of the same self may, is called by lineage and age.
    """
    if scene.from_message_id is None:
        return None
    message = await store.message(scene.from_message_id)
    address = message.address or reader.address
    name = message.speaker if message.speaker != reader.name else name_of(address)
    return Persona(name=name, address=address), replace(message, speaker=name)


async def said_before(store: Store, scene: Scene, since: datetime) -> list[Message]:
    """Return what was said at a scene's place before it, oldest first; in its newest scenes only."""
    open_ones = await store.scenes(place=scene.place, status="open")
    newest = await store.scenes(place=scene.place, last=8)
    ids = {known.id for known in (*open_ones, *newest)} - {scene.id}
    found = [m for scene_id in ids for m in await store.messages(scene_id, last=guard.MAX_WITHOUT_HUMAN)]
    return sorted((m for m in found if m.created_at >= since), key=lambda m: m.id)
