"""One Discord channel: what is heard there goes into the store in order, and one turn is taken at a time.

Two tasks. The listener takes what the registrar put into the inbox (messages, edits, deletions, "catch up")
and keeps it. The coordinator has the floor: it answers people, plays scenes, and after a restart posts what
was kept and not posted. Only the coordinator posts, so nobody talks over another, and everything is kept
before it is posted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import aiohttp
import discord

from bots import floor, guard
from bots.account import Account
from bots.discord_api import words_origin
from bots.discord_channel import DiscordChannel
from bots.hearing import (
    TAKE_BACK,
    CatchUp,
    Edited,
    Event,
    Gone,
    Heard,
    ThreadBegan,
    heard,
    is_from_person,
    is_kept_out,
)
from bots.scene import ATTEMPTS, find_voices, finish, play, to_lines, utc_now
from memory.store import Store
from memory.types import Message, Scene
from selves.cast import Cast, Persona, SceneSpec
from selves.errors import DiscordError, EngineError, SelvesError, StoreError
from selves.speech import Prompt, Sampling, Utterance, seed_from
from serving.prompt import clean
from serving.voice import ModelInfo, Voice, unfinished

log = logging.getLogger("selves.bots")

NO_ENGINE, SPEECHLESS = "⚠️", "😶"
"""Put on a message that stays without an answer: the engine failed; nothing fit to be said came out."""
CONTEXT_LINES = 35
CHANNEL_KEY = "channel:"
"""Begins the keys of the channels' own conversations, which never end."""
PAGE = 100
"""Catching up looks at so many messages at least."""
LONGEST_GAP = 1000
"""Catching up looks back over so many messages at most."""
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


@dataclass(frozen=True)
class Ask:
    """A person waits for an answer of a self."""

    persona: Persona
    message: Message
    due: float
    """Loop time from when it may be answered."""
    latest: float


class History(NamedTuple):
    """What stands in a channel."""

    oldest: int | None
    """The oldest message that was looked at; None when none could be read."""
    ids: set[int]
    """All messages since, except those that their authors want kept out."""
    heard: list[Heard]
    """Those of people, oldest first."""


class Planned(NamedTuple):
    """A scene that waits for the floor."""

    spec: SceneSpec
    key: str


class Room:
    """See the module. `listen` and `coordinate` run for ever, as tasks of whoever owns the room."""

    def __init__(
        self,
        channel_id: int,
        *,
        cast: Cast,
        store: Store,
        voice: Voice,
        speakers: Mapping[str, Account],
        registrar: Account,
        pace: Pace = STEADY,
    ) -> None:
        self.channel = DiscordChannel(channel_id, store, speakers, registrar, lambda: self._halted)
        self._cast, self._store, self._voice = cast, store, voice
        self._speakers, self._registrar = speakers, registrar
        self._pace = pace
        self._inbox: asyncio.Queue[Event] = asyncio.Queue()
        self._will_catch_up = False
        """Whether a CatchUp is in the inbox; one is enough for a whole fleet that comes online."""
        self._work = asyncio.Event()
        self._asks: dict[tuple[str, str], Ask] = {}
        self._given_up: set[tuple[str, int]] = set()
        """Who failed to answer what. Tried again after a restart only."""
        self._planned: dict[str, Planned] = {}
        self._leftovers = False
        """Whether to look for what was kept and not posted."""
        self._halted = False
        self._halted_at = datetime.min.replace(tzinfo=UTC)
        self._talk: Scene | None = None
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
                await self._store.edit_heard(event.platform_id, text=event.text, edited_at=event.edited_at)
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
        scene = self._scene or await self.open_talk()
        message = await self._store.hear(
            scene.id,
            platform_id=event.platform_id,
            user_id=event.user_id,
            text=event.text,
            created_at=event.created_at,
            origin=words_origin(),
            reply_to_platform_id=event.reply_to,
        )
        if event.edited_at is not None:
            message = (
                await self._store.edit_heard(event.platform_id, text=event.text, edited_at=event.edited_at)
                or message
            )
        called = await self._addressed(event, message)
        if message.status != "posted" or self._is_stale(message) or message.created_at <= self._halted_at:
            return
        now = asyncio.get_running_loop().time()
        self._asks = {key: self._postpone(ask, now) for key, ask in self._asks.items()}
        for persona, urgent in called:
            if (persona.name, message.id) in self._given_up:
                continue
            key = (persona.name, message.speaker)
            latest = self._asks[key].latest if key in self._asks else now + self._pace.patience_s
            due = now if urgent else min(now + self._pace.quiet_s, latest)
            self._asks[key] = Ask(persona, message, due, latest)
        self._work.set()

    def _postpone(self, ask: Ask, now: float) -> Ask:
        """Somebody goes on writing: who is not yet due waits a little longer."""
        if ask.due <= now:
            return ask
        return replace(ask, due=min(now + self._pace.quiet_s, ask.latest))

    async def _addressed(self, event: Heard, message: Message) -> list[tuple[Persona, bool]]:
        """Return who should answer, and whether at once.

        All who are mentioned or replied to; else who is named first.
        """
        here = [p for p in self._cast.persona if p.name in self._speakers]
        called = set(event.mentions)
        if message.reply_to is not None:
            # some servers of one's own do not send the message that is replied to; the store knows it
            called.add((await self._store.message(message.reply_to)).speaker)
        if urgent := [persona for persona in here if persona.name in called]:
            return [(persona, True) for persona in urgent]
        return [(persona, False) for persona in floor.addressed(here, event.text)[:1]]

    async def open_talk(self) -> Scene:
        """Return the channel's own conversation: all between people and selves that is not in a scene.

        What was said before it was begun for the first time is never read. Raises StoreError.
        """
        if self._talk is None:
            spec = SceneSpec(name="channel", cast=("Guests", *self._speakers))
            key = f"{CHANNEL_KEY}{self.channel.place}"
            self._talk = await self._store.begin_scene(spec, place=self.channel.place, key=key)
        return self._talk

    async def _catch_up(self) -> None:
        """Hear what was missed, and follow the edits and deletions that were missed."""
        self._look_for_leftovers()
        known = await self._known()
        began = discord.utils.time_snowflake((await self.open_talk()).started_at)
        history = await self._history(min([began, *known]), known)
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

    async def _history(self, since: int, known: set[int]) -> History:
        """Look back until something is known, and never to before `since`, when the selves came here.

        Raises DiscordError.
        """
        client = await self._registrar.client()
        selves = self.selves
        found: list[Heard] = []
        ids: set[int] = set()
        oldest, met_known, looked_at = None, False, 0
        try:
            history = client.get_partial_messageable(self.channel.channel_id).history(limit=LONGEST_GAP)
            async for message in history:
                if message.id < since or (met_known and looked_at >= PAGE):
                    break
                oldest, looked_at = message.id, looked_at + 1
                met_known = met_known or message.id in known
                if is_kept_out(message.content) or await _is_taken_back(message):
                    continue
                ids.add(message.id)
                if is_from_person(message):
                    found.append(heard(message, selves))
        except (discord.HTTPException, aiohttp.ClientError, OSError, RuntimeError) as error:
            raise DiscordError(
                f"the history of channel {self.channel.channel_id} cannot be read: {error}",
                "`selves bots check` says whether a permission is missing",
            ) from error
        return History(oldest, ids, found[::-1])

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
            await self._answer(self._asks.pop(due[0]))
        else:
            await self._play(self._planned.pop(next(iter(self._planned))))

    def _look_for_leftovers(self) -> None:
        self._leftovers = True
        self._work.set()

    async def _post_leftovers(self) -> None:
        """Post what was kept and not posted, and go on with scenes that were cut off."""
        self._leftovers = False
        for message in await self._store.unposted(self.channel.place):
            if self.channel.can_post(message):
                await self._post(message)
        for scene in await self._store.scenes(place=self.channel.place, status="open"):
            if scene.key is None or scene.key.startswith(CHANNEL_KEY):
                continue
            if utc_now() - scene.started_at > RESUMABLE + timedelta(minutes=scene.spec.max_minutes):
                await self._store.end_scene(scene.id, "time")
            else:
                self._planned.setdefault(scene.key, Planned(scene.spec, scene.key))

    async def _post(self, message: Message) -> None:
        await self._store.mark_posted(message.id, await self.channel.post(message))

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
            scene = await play(self._store, self._voice, self.channel, self._cast, spec, key=key)
        finally:
            self._scene = None
        log.info("%s: scene %r ended: %s", self.channel.place, spec.name, scene.stop_reason)

    async def _answer(self, ask: Ask) -> None:
        """Draw an answer, keep it, post it as a reply. An answer that nobody waits for is not drawn."""
        persona, account = ask.persona, self._speakers[ask.persona.name]
        messages = await self._store.messages(ask.message.scene_id, last=CONTEXT_LINES)
        asked = next((m for m in messages if m.id == ask.message.id), None)
        if asked is None or not self._is_open(asked, persona, messages) or not account.online.is_set():
            return
        names = list(dict.fromkeys([*self._speakers, *(m.speaker for m in messages)]))
        utterances: list[Utterance] = []
        chosen: int | None = None
        text = ""
        async with self.channel.thinking(persona):
            for attempt in range(ATTEMPTS):
                seed = seed_from("answer", asked.id, attempt)
                utterances.append(await self._speak(persona, messages, names, seed))
                if utterances[-1].error:
                    break
                was_cut = utterances[-1].finish_reason == "length"
                text = finish(clean(utterances[-1].text, persona.name, names), was_cut=was_cut)
                if guard.refuse_sample(text, messages) is None:
                    chosen = attempt
                    break
        # people may have called for silence, or taken their question back, while the model was thinking
        unwanted = self._halted or (await self._store.message(asked.id)).status != "posted"
        kept = await self._store.keep_turn(
            asked.scene_id,
            speaker=persona.name,
            utterances=utterances,
            chosen=None if unwanted else chosen,
            text=text,
            reply_to=asked.id,
        )
        if kept is not None:
            await self._post(kept)
            log.info("%s: %s answered %s", self.channel.place, persona.name, asked.speaker)
            return
        self._given_up.add((persona.name, asked.id))
        if not unwanted and asked.platform_id is not None:
            failed = utterances[-1].error
            log.warning(
                "%s: %s gave no answer: %s", self.channel.place, persona.name, failed or "nothing fit"
            )
            sign = NO_ENGINE if failed else SPEECHLESS
            await self._registrar.react(self.channel.channel_id, asked.platform_id, sign)

    def _is_open(self, asked: Message, persona: Persona, messages: Sequence[Message]) -> bool:
        """Whether this message still waits for this self: it stands, is fresh, and was not answered.

        An answer to a later message of the same person is one; so is whatever was said after it in a scene.
        """
        if asked.status != "posted" or self._is_stale(asked):
            return False
        whose = {m.id: m.speaker for m in messages}
        return not any(
            m.speaker == persona.name
            and m.id > asked.id
            and (m.reply_to is None or (m.reply_to >= asked.id and whose.get(m.reply_to) == asked.speaker))
            for m in messages
        )

    def _is_stale(self, message: Message) -> bool:
        return utc_now() - message.created_at > timedelta(seconds=self._pace.stale_s)

    async def _speak(
        self, persona: Persona, messages: Sequence[Message], names: Sequence[str], seed: int
    ) -> Utterance:
        """Draw one sample; a failure is an utterance too."""
        started = utc_now()
        info = ModelInfo(
            address=persona.address,
            form="transcript",
            context_tokens=0,
            weights_sha256="",
            engine="",
            engine_version="",
        )
        prompt, sampling = Prompt(form=info.form), Sampling(seed=seed)
        try:
            info = await self._voice.info(persona.address)
            prompt, sampling = await self._voice.compose(persona, to_lines(messages), names=names, seed=seed)
            return await self._voice.say(persona.address, prompt, sampling)
        except EngineError as error:
            return unfinished(info, prompt, sampling, started, error=error.problem)


async def _is_taken_back(message: discord.Message) -> bool:
    """Whether its author has put a 🙈 on it."""
    for reaction in message.reactions:
        if str(reaction.emoji) == TAKE_BACK:
            return any([user.id == message.author.id async for user in reaction.users()])
    return False
