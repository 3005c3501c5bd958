"""One Discord channel: what is heard there goes into the store in order, and one turn is taken at a time.

Two tasks. The listener takes what the registrar put into the inbox (messages, edits, deletions, "catch up")
and keeps it. The coordinator has the floor: it answers people, plays scenes, and after a restart posts what
was kept and not posted. Only the coordinator posts, so nobody talks over another, and everything is kept
before it is posted.

A thread and a private conversation are rooms too (`rooms.py` opens them).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import discord

from bots import floor, settings
from bots.account import Account
from bots.answering import NO_ENGINE, SPEECHLESS, Answerer, Ask
from bots.attachments import File, with_files
from bots.discord_api import words_origin
from bots.discord_channel import DiscordChannel, place_of
from bots.hearing import CatchUp, Edited, Event, Gone, Heard, ThreadBegan, is_kept_out
from bots.history import LONGEST_GAP, read_history
from bots.posting import post_kept
from bots.scene import find_voices, play, utc_now
from bots.streaming import take_back_torsos
from memory.posted import consents_at, message_at
from memory.store import Store
from memory.types import Message, Scene
from selves.cast import Cast, Persona, SceneSpec
from selves.errors import DiscordError, SelvesError, StoreError
from serving.voice import Voice

__all__ = ["NO_ENGINE", "SPEECHLESS", "STEADY", "Pace", "Room", "Where"]

log = logging.getLogger("selves.bots")

ASLEEP = "💤"
"""Put on a message to a self that sleeps."""
CHANNEL_KEY = "channel:"
"""Begins the keys of the channels' own conversations, which never end."""
RESUMABLE = timedelta(hours=1)
"""A scene that was cut off longer ago is ended instead of going on out of the blue."""


class Pace(NamedTuple):
    """How fast a room reacts, in seconds."""

    quiet_s: float = 2.0
    """Who says a self's name may go on writing: wait for so much silence ..."""
    patience_s: float = 8.0
    """... but no longer than this. Mentions and replies are answered at once."""
    stale_s: float = 600.0
    """Nobody expects an answer to a message that is older than this."""
    retry_s: float = 30.0
    """After trouble with the database or with the channel's history: catch up then."""


STEADY = Pace()


class Where(NamedTuple):
    """What kind of place a room is in."""

    channel_id: int
    place: str = ""
    """Its name in the database; by default after the channel's id."""
    parent: int | None = None
    """Of a thread: the channel that it belongs to."""
    begins_at: int | None = None
    """Of a thread: the platform's id of the message that it branches off from."""
    to: str = ""
    """The self that everything here is said to, in a private conversation or a talk in a thread."""
    private: bool = False
    """Whether it is between one person and one self."""


class Planned(NamedTuple):
    """A scene that waits for the floor."""

    spec: SceneSpec
    key: str


class Room:
    """See the module. `listen` and `coordinate` run for ever, as tasks of whoever owns the room."""

    def __init__(
        self,
        where: int | Where,
        *,
        cast: Cast,
        store: Store,
        voice: Voice,
        speakers: Mapping[str, Account],
        registrar: Account,
        pace: Pace = STEADY,
    ) -> None:
        self.where = where if isinstance(where, Where) else Where(where)
        self.channel = DiscordChannel(
            self.where.channel_id, store, speakers, registrar, lambda: self._halted, place=self.where.place
        )
        self.set_by = place_of(self.where.parent) if self.where.parent else self.channel.place
        """The place whose settings hold here: a thread has its channel's."""
        self._cast, self._store, self._voice = cast, store, voice
        self._speakers, self._registrar = speakers, registrar
        self._pace = pace
        self._answerer = Answerer(
            self.channel,
            cast=cast,
            store=store,
            voice=voice,
            speakers=speakers,
            registrar=registrar,
            set_by=self.set_by,
            stale_s=pace.stale_s,
        )
        self._inbox: asyncio.Queue[Event] = asyncio.Queue()
        self._will_catch_up = False
        """Whether a CatchUp is in the inbox; one is enough for a whole fleet that comes online."""
        self._work = asyncio.Event()
        self._asks: dict[tuple[str, str], Ask] = {}
        self._planned: dict[str, Planned] = {}
        self._leftovers = False
        """Whether to look for what was kept and not posted."""
        self._halted = False
        self._halted_at = datetime.min.replace(tzinfo=UTC)
        self._talk: Scene | None = None
        self._to = self.where.to
        self._scene: Scene | None = None
        """The scene that is being played; what people say meanwhile belongs to it."""

    # ------------------------------------------------------------------ what others ask of it

    def take(self, event: Event) -> None:
        """Put an event into the inbox; events are taken in this order."""
        if isinstance(event, CatchUp):
            if self._will_catch_up:
                return
            self._will_catch_up = True
        self._inbox.put_nowait(event)

    async def settle(self) -> None:
        """Wait until all that is in the inbox is heard."""
        await self._inbox.join()

    def play_soon(self, spec: SceneSpec, key: str) -> bool:
        """Play a scene as soon as the floor is free; return whether others come first.

        Raises DiscordError when somebody in its cast cannot speak here.
        """
        self.channel.check_cast(spec)
        waits = self._scene is not None or bool(self._planned)
        self._planned.setdefault(key, Planned(spec, key))
        self._work.set()
        return waits

    def halt(self) -> None:
        """Silence: the scene ends, what is being drawn is not posted, nobody is answered any more."""
        self._halted = True
        self._halted_at = utc_now()
        self._asks.clear()
        self._planned.clear()

    def recast(self, cast: Cast) -> None:
        """Let this be the cast from now on; a scene that is being played ends as it began."""
        self._cast = cast
        self._answerer.recast(cast)

    def belong_to(self, name: str) -> None:
        """From now on, what is said here to nobody is said to this self."""
        self._to = name
        self.where = self.where._replace(to=name)

    def ask(self, ask: Ask) -> None:
        """Let a self answer again, or go on, as soon as the floor is free."""
        self._asks[f"{ask.why}:{ask.persona.name}", f"{ask.message.id}"] = ask
        self._work.set()

    # ------------------------------------------------------------------ listening

    async def listen(self) -> None:
        """Take events out of the inbox, one after the other, for ever."""
        while True:
            event = await self._inbox.get()
            try:
                await self._hear(event)
            except (StoreError, DiscordError) as error:
                # nothing was acknowledged, so nothing is lost: the channel still has it
                log.error("%s: %s. Catching up in %.0f s.", self.channel.place, error, self._pace.retry_s)
                asyncio.get_running_loop().call_later(self._pace.retry_s, self.take, CatchUp())
            finally:
                self._inbox.task_done()

    async def _hear(self, event: Event) -> None:
        match event:
            case Heard():
                await self._hear_message(event)
            case Edited() if is_kept_out(event.text):
                await self._store.delete_heard(event.platform_id)
            case Edited():
                text = await self._whole(event.text, event.files)
                await self._store.edit_heard(event.platform_id, text=text, edited_at=event.edited_at)
            case Gone():
                await self._store.delete_heard(event.platform_id)
            case ThreadBegan():
                await self._store.mark_thread(event.platform_id, event.thread_id)
            case CatchUp():
                self._will_catch_up = False
                await self._catch_up()

    async def _hear_message(self, event: Heard) -> None:
        if event.kept_out:
            return
        place, asleep = await settings.of_place_and_sleep(self._store, self.set_by)
        called = await self._addressed(event, place)
        if not called and not await self._may_listen(event, place):
            return
        talk = await self.open_talk()
        message = await self._store.hear(
            (self._scene or talk).id,
            when_ended=talk.id,
            platform_id=event.platform_id,
            user_id=event.user_id,
            text=await self._whole(event.text, event.files if place.files else ()),
            created_at=event.created_at,
            origin=words_origin(),
            reply_to_platform_id=event.reply_to,
        )
        if event.edited_at is not None and (message.edited_at or message.created_at) < event.edited_at:
            text = await self._whole(event.text, event.files if place.files else ())
            message = (
                await self._store.edit_heard(event.platform_id, text=text, edited_at=event.edited_at)
                or message
            )
        if message.status != "posted" or message.created_at <= self._halted_at:
            return
        if not self._answerer.is_stale(message):
            await self._expect(message, called, asleep, place)

    async def _expect(
        self,
        message: Message,
        called: list[tuple[Persona, bool]],
        asleep: Collection[str],
        place: settings.PlaceSettings,
    ) -> None:
        """Note who is to answer a message, and from when on."""
        quiet_s = self._pace.quiet_s if place.quiet_s is None else place.quiet_s
        now = asyncio.get_running_loop().time()
        self._asks = {key: self._postpone(ask, now, quiet_s) for key, ask in self._asks.items()}
        for persona, urgent in called:
            if (persona.name, message.id) in self._answerer.given_up:
                continue
            if persona.name in asleep:
                await self._sleeps(message)
                continue
            key = (persona.name, message.speaker)
            latest = self._asks[key].latest if key in self._asks else now + self._pace.patience_s
            due = now if urgent else min(now + quiet_s, latest)
            self._asks[key] = Ask(persona, message, due, latest)
        self._work.set()

    async def _sleeps(self, message: Message) -> None:
        if message.platform_id is not None:
            await self._registrar.react(self.channel.channel_id, message.platform_id, ASLEEP)

    async def _whole(self, text: str, files: tuple[File, ...]) -> str:
        """Return a message's text and that of the files with it. Raises DiscordError."""
        if not files:
            return text
        client = await self._registrar.client()
        return await with_files(text, files, client.http.get_from_cdn)

    async def _may_listen(self, event: Heard, place: settings.PlaceSettings) -> bool:
        """Whether what is said to nobody in particular may be heard: as its author and the channel want."""
        platform = "selfhosted" if words_origin() == "selfhosted" else "discord"
        said = (await consents_at(self._store, platform, event.user_id)).get("context")
        return (place.hear or self._cast.discord.hear) == "all" if said is None else said

    async def hearing(self) -> settings.Hearing:
        """Return what is heard here beside what is said to a self."""
        return (await settings.of_place(self._store, self.set_by)).hear or self._cast.discord.hear

    def _postpone(self, ask: Ask, now: float, quiet_s: float) -> Ask:
        """Somebody goes on writing: who is not yet due waits a little longer."""
        if ask.due <= now:
            return ask
        return replace(ask, due=min(now + quiet_s, ask.latest))

    async def _addressed(self, event: Heard, place: settings.PlaceSettings) -> list[tuple[Persona, bool]]:
        """Return who should answer, and whether at once.

        All who are mentioned or replied to; else who is named first; else whom this room belongs to.
        """
        here = [
            p
            for p in self._cast.persona
            if p.name in self._speakers and (not place.selves or p.name in place.selves)
        ]
        if any(p.age_restricted for p in here) and not await self.is_age_restricted():
            here = [p for p in here if not p.age_restricted]
        called = set(event.mentions)
        if event.reply_to is not None:
            # some servers of one's own do not send the message that is replied to; the store knows it
            replied = await message_at(self._store, event.reply_to)
            called.add(replied.speaker if replied else "")
        if urgent := [persona for persona in here if persona.name in called]:
            return [(persona, True) for persona in urgent]
        if place.names and (named := floor.addressed(here, event.text)):
            return [(named[0], False)]
        await self.open_talk()
        return [(persona, False) for persona in here if persona.name == self._to]

    async def is_age_restricted(self) -> bool:
        """Whether Discord marks this channel as one for adults. Raises DiscordError."""
        client = await self._registrar.client()
        channel = client.get_channel(self.where.parent or self.where.channel_id)
        return bool(getattr(channel, "nsfw", False))

    async def open_talk(self) -> Scene:
        """Return the channel's own conversation: all between people and selves that is not in a scene.

        What was said before it was begun for the first time is never read. Raises StoreError.
        """
        if self._talk is None:
            spec = SceneSpec(name="channel", cast=("Guests", *self._speakers))
            key = f"{CHANNEL_KEY}{self.channel.place}"
            origin = await message_at(self._store, self.where.begins_at) if self.where.begins_at else None
            if origin is not None and origin.address and not self._to:
                # who begins a thread at what a self said talks with it
                self._to = origin.speaker
            self._talk = await self._store.begin_scene(
                spec, place=self.channel.place, key=key, from_message_id=origin.id if origin else None
            )
        return self._talk

    async def _catch_up(self) -> None:
        """Hear what was missed, and follow the edits and deletions that were missed."""
        self._look_for_leftovers()
        known = await self._known()
        began = discord.utils.time_snowflake((await self.open_talk()).started_at)
        history = await read_history(
            await self._registrar.client(),
            self.channel.channel_id,
            since=min([began, *known]),
            known=known,
            selves=self.selves,
        )
        for event in history.heard:
            await self._hear_message(event)
        for platform_id in known:
            if (
                history.oldest is not None
                and platform_id >= history.oldest
                and platform_id not in history.ids
            ):
                await self._store.delete_heard(platform_id)

    async def _known(self) -> set[int]:
        """Discord's ids of the people's messages that are kept from this channel's newest scenes."""
        scenes = {scene.id for scene in await self._store.scenes(place=self.channel.place, last=10)}
        scenes.add((await self.open_talk()).id)
        messages = [m for i in scenes for m in await self._store.messages(i, last=LONGEST_GAP)]
        return {m.platform_id for m in messages if m.human and m.platform_id and m.status == "posted"}

    @property
    def selves(self) -> dict[int, str]:
        """Names of the selves that have logged in, by Discord's user id."""
        return {a.user_id: name for name, a in self._speakers.items() if a.user_id is not None}

    # ------------------------------------------------------------------ having the floor

    async def coordinate(self) -> None:
        """Do what is to be done here, one thing after the other, for ever."""
        while True:
            await self._wait_for_work()
            self._halted = False
            try:
                await self._do_next()
            except DiscordError as error:
                log.error("%s: %s", self.channel.place, error)
                asyncio.get_running_loop().call_later(self._pace.retry_s, self._look_for_leftovers)
            except StoreError as error:
                # what was to be answered still stands in the channel
                log.error("%s: %s. Catching up in %.0f s.", self.channel.place, error, self._pace.retry_s)
                asyncio.get_running_loop().call_later(self._pace.retry_s, self.take, CatchUp())
            except SelvesError as error:
                log.error("%s: %s", self.channel.place, error)

    async def _wait_for_work(self) -> None:
        loop = asyncio.get_running_loop()
        while not (
            self._leftovers or self._planned or any(a.due <= loop.time() for a in self._asks.values())
        ):
            self._work.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min((a.due for a in self._asks.values()), default=None)):
                    await self._work.wait()

    async def _do_next(self) -> None:
        """People's questions come before scenes; what an earlier run left behind comes before both."""
        if self._leftovers:
            await self._post_leftovers()
            return
        now = asyncio.get_running_loop().time()
        due = [key for key, ask in self._asks.items() if ask.due <= now]
        if due:
            await self._answerer.answer(self._asks.pop(due[0]))
        else:
            await self._play(self._planned.pop(next(iter(self._planned))))

    def _look_for_leftovers(self) -> None:
        self._leftovers = True
        self._work.set()

    async def _post_leftovers(self) -> None:
        """Post what was kept and not posted, and go on with scenes that were cut off.

        What Discord refuses keeps nothing else back; what it refuses for good is given up. Raises
        DiscordError for the last of the rest.
        """
        self._leftovers = False
        refused: DiscordError | None = None
        await take_back_torsos(self._store, self.channel, self._speakers)
        for message in await self._store.unposted(self.channel.place):
            if self.channel.can_post(message):
                try:
                    await self._post(message)
                except DiscordError as error:
                    refused = error
        for scene in await self._store.scenes(place=self.channel.place, status="open"):
            if scene.key is None or scene.key.startswith(CHANNEL_KEY):
                continue
            if utc_now() - scene.started_at > RESUMABLE + timedelta(minutes=scene.spec.max_minutes):
                await self._store.end_scene(scene.id, "time")
            else:
                self._planned.setdefault(scene.key, Planned(scene.spec, scene.key))
        if refused is not None:
            raise refused

    async def _post(self, message: Message) -> None:
        await post_kept(self._store, message, self.channel.post(message))

    async def _play(self, planned: Planned) -> None:
        """Play a scene, unless it has been played already."""
        spec, key = planned
        self.channel.check_cast(spec)
        await find_voices(self._voice, [self._cast.find_persona(name) for name in spec.cast])
        scene = await self._store.begin_scene(spec, place=self.channel.place, key=key)
        if scene.status == "ended":
            return
        log.info("%s: scene %r begins", self.channel.place, spec.name)
        self._scene = scene
        try:
            grown_up = await self.is_age_restricted()
            scene = await play(
                self._store, self._voice, self.channel, self._cast, spec, key=key, age_restricted=grown_up
            )
        finally:
            self._scene = None
        log.info("%s: scene %r ended: %s", self.channel.place, spec.name, scene.stop_reason)
