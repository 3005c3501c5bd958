"""A scene that plays for a page: lines that were posted, the line that grows, a person who steps in.

No Streamlit here. Pausing lets whoever speaks end the line; the scene stays open, and `begin` goes on.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from app.background import Background, Watch
from app.forks import OWN, PLACE, Branching, before, begin_own
from bots.scene import play
from memory.store import open_store
from memory.types import Message, Scene
from selves.cast import Cast, Persona, SceneSpec
from selves.errors import SelvesError
from selves.lineage import list_ages
from selves.settings import House
from selves.speech import Prompt, Sampling, Utterance
from serving.voice import Priority, Voice

ANY_NUMBER = 10**9
"""Whoever watches is there to stop it: so many lines may be said without a person."""
SETTLE_S = 3.0


class Began(NamedTuple):
    """The scene is in the database; what was said so far, before the branch too."""

    scene: Scene
    before: list[Message]
    lines: list[Message]


class Said(NamedTuple):
    """A line was posted."""

    message: Message


class Growing(NamedTuple):
    """Somebody speaks; `text` is all of it so far."""

    speaker: str
    text: str


class Ended(NamedTuple):
    """Nothing more comes."""

    stop_reason: str | None
    error: SelvesError | None


Event = Began | Said | Growing | Ended
Put = Callable[[Event], None]


class Paused(Exception):
    """Whoever watches wants nobody else to speak for now."""


class PageChannel:
    """A scene on a page. Satisfies `bots.channel.Channel`."""

    place = PLACE

    def __init__(self, put: Put, pausing: threading.Event) -> None:
        self._put = put
        self._pausing = pausing
        self.speaker = ""

    async def post(self, message: Message) -> None:
        """Show one message."""
        self._put(Said(message))

    @asynccontextmanager
    async def thinking(self, persona: Persona) -> AsyncIterator[None]:
        """Show who is about to speak while the block runs. Raises Paused when nobody is to speak any more."""
        if self._pausing.is_set():
            raise Paused
        self.speaker = persona.name
        self._put(Growing(persona.name, ""))
        yield

    def halted(self) -> bool:
        """Never: whoever watches presses Pause."""
        return False


class Overheard(Voice):
    """A voice whose answers are heard while they are drawn."""

    show: Callable[[str, str], None]

    async def say(
        self, address: str, prompt: Prompt, sampling: Sampling, *, priority: int = Priority.PEOPLE
    ) -> Utterance:
        """Generate once, to the end, and show what comes."""
        text = ""
        async with aclosing(self.stream(address, prompt, sampling, priority=priority)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Utterance):
                    return piece
                text += piece
                self.show(address, text)
        raise AssertionError("a stream ends with an utterance")


async def perform(
    url: str,
    house: House,
    cast: Cast,
    spec: SceneSpec,
    key: str,
    from_message_id: int | None,
    put: Put,
    pausing: threading.Event,
) -> None:
    """Play a scene to its end, and `put` what happens; at last always `Ended`.

    It stays open when it is cancelled, or after the line that is being said when `pausing` is set.
    """
    stop_reason, trouble = None, None
    channel = PageChannel(put, pausing)
    try:
        async with open_store(house.database_url) as store, Overheard(url, house.api_key) as voice:
            voice.show = lambda _, text: put(Growing(channel.speaker, text))
            present = {persona.address for persona in cast.persona}
            for age in list_ages(house.checkpoints):
                if age.card.address in present:
                    await store.register_age(age)
            here = Branching(store)
            if spec.name == OWN:
                scene, here = await begin_own(store, spec, key=key, from_message_id=from_message_id)
                spec = spec.model_copy(update={"opening": ""})
            else:
                scene = await store.begin_scene(spec, place=PLACE, key=key, from_message_id=from_message_id)
            put(Began(scene, await before(store, scene), await store.messages(scene.id)))
            scene = await play(
                here,
                voice,
                channel,
                cast,
                spec,
                key=key,
                max_without_human=ANY_NUMBER,
                age_restricted=True,
            )
            stop_reason = scene.stop_reason
    except Paused:
        pass
    except SelvesError as error:
        trouble = error
    finally:
        put(Ended(stop_reason, trouble))


@dataclass
class Play:
    """A scene as a session sees it."""

    cast: Cast
    spec: SceneSpec
    key: str
    from_message_id: int | None = None
    scene: Scene | None = None
    before: list[Message] = field(default_factory=list)
    lines: list[Message] = field(default_factory=list)
    growing: Growing | None = None
    stop_reason: str | None = None
    error: SelvesError | None = None
    running: bool = False
    pausing: threading.Event = field(default_factory=threading.Event)
    events: queue.Queue[Event] = field(default_factory=queue.Queue)
    watch: Watch = field(default_factory=Watch)
    _work: Future[None] | None = None

    def begin(self, background: Background, url: str, house: House) -> None:
        """Play, or go on."""
        self.running, self.error, self.events, self.watch = True, None, queue.Queue(), Watch()
        self.pausing = threading.Event()
        scene = house, self.cast, self.spec, self.key, self.from_message_id
        self._work = background.start(self.watch.over(perform(url, *scene, self.events.put, self.pausing)))

    def pause(self) -> None:
        """Let nobody else speak for now: at once, or when the line that grows has been said."""
        if self.growing is None or not self.growing.text:
            self.stop()
        else:
            self.pausing.set()

    def stop(self) -> None:
        """Let nobody say more; the line that grows is lost."""
        if self._work is not None:
            self._work.cancel()
        if self.running:
            self.take_for(SETTLE_S)
        self.running, self.growing = False, None

    def take_for(self, duration_s: float) -> None:
        """Take what comes within a time, or until a line was posted or nothing more comes."""
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
            case Began(scene, earlier, lines):
                self.scene, self.before, self.lines = scene, earlier, lines
            case Said(message):
                self.hear(message)
                self.growing = None
            case Growing():
                self.growing = event
            case Ended(stop_reason, error):
                self.running, self.growing = False, None
                self.stop_reason, self.error = stop_reason, error

    def hear(self, message: Message) -> None:
        """Add a line, once, in its place."""
        others = [line for line in self.lines if line.id != message.id]
        self.lines = sorted([*others, message], key=lambda line: line.sequence)
