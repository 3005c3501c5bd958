"""A talk with one self as a page has it: what was said, and the answer that grows. No Streamlit here."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

from app.background import Background, Watch
from app.forks import PLACE
from app.votes import VIA
from bots.parlor import PERSON, Parlor
from memory import feedback
from memory.store import Store, open_store
from memory.types import Message
from selves.cast import Persona, SceneSpec
from selves.errors import SelvesError
from selves.settings import House
from serving.voice import Voice

SETTLE_S = 3.0


class Stands(NamedTuple):
    """The talk as it stands now."""

    scene_id: int
    messages: list[Message]


class Grows(NamedTuple):
    """All of the answer so far."""

    text: str


class Done(NamedTuple):
    """Nothing more comes for now."""

    error: SelvesError | None


Event = Stands | Grows | Done
Put = Callable[[Event], None]


class PageParlor(Parlor):
    """A talk on a page."""

    async def say(self, text: str) -> Message:
        """Keep what the person said."""
        if self.scene is None:
            spec = SceneSpec(name="talk", cast=(PERSON, self.persona.name))
            self.scene = await self._store.begin_scene(spec, place=PLACE)
        return await super().say(text)


async def talk(
    url: str, house: House, persona: Persona, scene_id: int | None, text: str | None, put: Put
) -> None:
    """Say something and have it answered, or without `text` answered anew. Cancelling ends the answer."""
    trouble = None
    try:
        async with open_store(house.database_url) as store, Voice(url, house.api_key) as voice:
            parlor = PageParlor(store, voice, persona)
            await voice.info(persona.address)
            parlor.scene = None if scene_id is None else await store.scene(scene_id)
            former = (await parlor.messages())[-1] if text is None else None
            if text is not None:
                await parlor.say(text)
            assert parlor.scene is not None
            put(Stands(parlor.scene.id, await parlor.messages()))
            answering = asyncio.create_task(parlor.answer(lambda said: put(Grows(said))))
            try:
                answer = await asyncio.shield(answering)
            except asyncio.CancelledError:
                parlor.stop()
                answer = await answering
            if former is not None and answer is not None:
                await note_again(store, former, answer)
            put(Stands(parlor.scene.id, await parlor.messages()))
    except SelvesError as error:
        trouble = error
    finally:
        put(Done(trouble))


async def note_again(store: Store, former: Message, answer: Message) -> None:
    """Somebody wanted another answer than the former one: a weak preference."""
    if former.generation_id is not None and answer.generation_id is not None:
        await feedback.keep(
            store,
            "regenerated",
            former.generation_id,
            other_id=answer.generation_id,
            via=VIA,
            key=f"regenerated:{former.generation_id}:{answer.generation_id}",
        )


@dataclass
class Talk:
    """One talk as a session sees it."""

    persona: Persona
    scene_id: int | None = None
    messages: list[Message] = field(default_factory=list)
    growing: str = ""
    error: SelvesError | None = None
    running: bool = False
    events: queue.Queue[Event] = field(default_factory=queue.Queue)
    watch: Watch = field(default_factory=Watch)
    _work: Future[None] | None = None

    def begin(self, background: Background, url: str, house: House, text: str | None) -> None:
        """Say something, or with None have another answer."""
        self.stop()
        self.running, self.error, self.growing = True, None, ""
        self.events, self.watch = queue.Queue(), Watch()
        work = talk(url, house, self.persona, self.scene_id, text, self.events.put)
        self._work = background.start(self.watch.over(work))

    def stop(self) -> None:
        """End the answer where it is."""
        if self._work is not None:
            self._work.cancel()
        if self.running:
            self.take_for(SETTLE_S)
        self.running = False

    def take_for(self, duration_s: float) -> None:
        """Take what comes within a time, or until nothing more comes."""
        self.watch.look()
        until = time.monotonic() + duration_s
        while self.running and (left := until - time.monotonic()) > 0:
            try:
                self.take(self.events.get(timeout=left))
            except queue.Empty:
                return

    def take(self, event: Event) -> None:
        """Note one thing that happened."""
        match event:
            case Stands(scene_id, messages):
                self.scene_id, self.messages = scene_id, messages
            case Grows(text):
                self.growing = text
            case Done(error):
                self.running, self.error = False, error
