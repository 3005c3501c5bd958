"""Answering people: drawing a self's answer to a message, keeping it, posting it as a reply.

Also another answer to the same message, and more of what was said. An answer that nobody waits for any more
is not drawn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, NamedTuple

from bots import context, filters, guard, settings
from bots.account import Account
from bots.discord_channel import DiscordChannel
from bots.posting import post_kept
from bots.purse import Purse
from bots.scene import ATTEMPTS, finish, to_lines, utc_now
from bots.streaming import Growing
from memory import feedback
from memory.store import Store
from memory.types import Message
from selves.cast import Cast, Persona
from selves.errors import EngineError
from selves.speech import Prompt, Sampling, Utterance, seed_from
from serving.prompt import clean
from serving.voice import ModelInfo, Voice, unfinished

log = logging.getLogger("selves.bots")

NO_ENGINE, SPEECHLESS, TIRED = "⚠️", "😶", "🪫"
"""Put on a message that stays without an answer: the engine failed; nothing fit to be said came out; the
day's tokens are spent."""
Why = Literal["asked", "again", "more"]


@dataclass(frozen=True)
class Ask:
    """A person waits for something of a self."""

    persona: Persona
    message: Message
    """What it is a reply to."""
    due: float
    """Loop time from when it may be answered."""
    latest: float
    why: Why = "asked"
    """`asked`: the message wants an answer. `again`: another one. `more`: the self shall go on."""
    former: Message | None = None
    """The answer that was not good enough; it is answered `again`."""


class Drawn(NamedTuple):
    """Samples for one answer, and which of them it is."""

    utterances: list[Utterance]
    chosen: int | None
    text: str


class Answerer:
    """Draws and posts answers in one channel."""

    def __init__(
        self,
        channel: DiscordChannel,
        *,
        cast: Cast,
        store: Store,
        voice: Voice,
        speakers: Mapping[str, Account],
        registrar: Account,
        set_by: str,
        stale_s: float,
    ) -> None:
        self._channel, self._store, self._voice = channel, store, voice
        self.recast(cast)
        self._speakers, self._registrar = speakers, registrar
        self._set_by = set_by
        """The place whose settings hold here: a thread has its channel's."""
        self._stale = timedelta(seconds=stale_s)
        self.given_up: set[tuple[str, int]] = set()
        """Who failed to answer what. Tried again after a restart only."""

    def recast(self, cast: Cast) -> None:
        """Let this be the cast from now on."""
        self._cast = cast
        self._purse = Purse(self._store, cast.budget, self._channel.place)

    async def answer(self, ask: Ask) -> Message | None:
        """Draw, keep and post an answer; return it, or None when there is none. Raises DiscordError."""
        place, own = await settings.of_place_and_self(self._store, self._set_by, ask.persona.name)
        persona = own.put_on(ask.persona)
        asked, lines = await context.lines_before(
            self._store, ask.message.id, place.lines, until=ask.why == "again"
        )
        if asked.status != "posted" or (ask.why == "asked" and not self.is_open(asked, persona, lines)):
            return None
        if not self._speakers[persona.name].online.is_set():
            return None
        if await self._purse.empty(persona.name):
            await self._sign(asked, TIRED)
            return None
        growing = None
        if place.stream and asked.platform_id is not None and self._speakers[persona.name].may_grow:
            growing = Growing(
                self._store,
                self._channel,
                self._speakers[persona.name],
                reply_to=asked.platform_id,
                nonce=asked.nonce,
                # of a word that may not be said nothing may be seen
                is_fit=lambda text: filters.refuse(self._cast.filter, persona.name, text) is None,
            )
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._channel.thinking(persona))
            if growing is not None:
                await stack.enter_async_context(growing)
            drawn = await self._draw(persona, ask, asked, lines, growing)
        # people may have called for silence, or taken their question back, while the model was thinking
        halted = self._channel.halted()
        kept = await self._store.keep_turn(
            asked.scene_id,
            speaker=persona.name,
            utterances=drawn.utterances,
            chosen=None if halted else drawn.chosen,
            text=drawn.text,
            reply_to=asked.id,
            if_stands=True,
            spent_in=self._purse.scopes(persona.name),
        )
        if kept is None:
            if growing is not None:
                await growing.withdraw()
            if drawn.chosen is None and not halted:
                await self._give_up(persona, asked, drawn.utterances[-1].error)
            self.given_up.add((persona.name, asked.id))
            return None
        if await post_kept(self._store, kept, self._show(kept, asked, growing)) is None:
            if growing is not None:
                await growing.withdraw()
            return None
        if growing is not None:
            await growing.settled()
        if ask.former is not None:
            await self._note_again(ask.former, kept)
        log.info("%s: %s answered %s", self._channel.place, persona.name, asked.speaker)
        return kept

    async def _show(self, kept: Message, asked: Message, growing: Growing | None) -> int:
        stands = await growing.become(kept.text, kept.nonce) if growing is not None else None
        return stands or await self._channel.post(kept, asked)

    async def _draw(
        self,
        persona: Persona,
        ask: Ask,
        asked: Message,
        lines: Sequence[Message],
        growing: Growing | None,
    ) -> Drawn:
        names = list(dict.fromkeys([*self._speakers, *(m.speaker for m in lines)]))
        number = 0 if ask.why == "asked" else (await self._store.scene(asked.scene_id)).turns
        utterances: list[Utterance] = []
        for attempt in range(ATTEMPTS):
            seed = (
                seed_from("answer", asked.id, attempt) if not number else seed_from(asked.id, number, attempt)
            )

            def show(text: str) -> None:
                if growing is not None:
                    growing.show(filters.plain(clean(text, persona.name, names)))

            utterance = await self._speak(persona, lines, names, seed, show)
            utterances.append(utterance)
            if utterance.error:
                break
            was_cut = utterance.finish_reason == "length"
            text = filters.plain(finish(clean(utterance.text, persona.name, names), was_cut=was_cut))
            refused = guard.refuse_sample(text, lines)
            if (refused or filters.refuse(self._cast.filter, persona.name, text)) is None:
                return Drawn(utterances, attempt, text)
        return Drawn(utterances, None, "")

    async def _speak(
        self,
        persona: Persona,
        lines: Sequence[Message],
        names: Sequence[str],
        seed: int,
        show: Callable[[str], None],
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
            prompt, sampling = await self._voice.compose(persona, to_lines(lines), names=names, seed=seed)
            said = ""
            async for piece in self._voice.stream(persona.address, prompt, sampling):
                if isinstance(piece, Utterance):
                    return piece
                said += piece
                show(said)
            raise AssertionError("a stream ends with an utterance")
        except EngineError as error:
            return unfinished(info, prompt, sampling, started, error=error.problem)

    async def _give_up(self, persona: Persona, asked: Message, error: str | None) -> None:
        log.warning("%s: %s gave no answer: %s", self._channel.place, persona.name, error or "nothing fit")
        await self._sign(asked, NO_ENGINE if error else SPEECHLESS)

    async def _sign(self, asked: Message, sign: str) -> None:
        if asked.platform_id is not None:
            await self._registrar.react(self._channel.channel_id, asked.platform_id, sign)

    async def _note_again(self, former: Message, kept: Message) -> None:
        """Somebody wanted another answer than the former one: a weak preference."""
        if former.generation_id is not None and kept.generation_id is not None:
            await feedback.keep(
                self._store,
                "regenerated",
                former.generation_id,
                other_id=kept.generation_id,
                via="discord",
                key=f"regenerated:{former.generation_id}:{kept.generation_id}",
            )

    def is_open(self, asked: Message, persona: Persona, lines: Sequence[Message]) -> bool:
        """Whether this message still waits for this self: it stands, is fresh, and was not answered.

        An answer to a later message of the same person is one; so is whatever was said after it in a scene.
        """
        if asked.status != "posted" or self.is_stale(asked):
            return False
        whose = {m.id: m.speaker for m in lines}
        return not any(
            m.speaker == persona.name
            and m.id > asked.id
            and (m.reply_to is None or (m.reply_to >= asked.id and whose.get(m.reply_to) == asked.speaker))
            for m in lines
        )

    def is_stale(self, message: Message) -> bool:
        """Whether nobody expects an answer to a message any more."""
        return utc_now() - message.created_at > self._stale
