"""One talk between a person and a self, kept as it goes: what `selves talk` shows, without the terminal.

Each answer replies to the person's line before it. Asking for another answer keeps the former one as its
sibling, with the same `reply_to`; the newest counts from then on.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime

from memory.store import Store
from memory.types import Message, Scene
from selves.cast import Cast, Persona, SceneSpec
from selves.errors import EngineError, UsageError
from selves.lineage import Address
from selves.speech import Prompt, Sampling, Utterance, seed_from
from serving.prompt import Line, clean
from serving.voice import ModelInfo, Voice, unfinished

PERSON = "You"
"""The person's name in the talk."""
CHAT_TOKENS = 256
"""A chat self ends its answers itself, so it may take this many tokens for one."""
OTHERS_LINE = re.compile(r"\n[ \t]*<(?:[A-Z][^\W_]{0,31}(?:> |>?$)|$)")
"""Where a self that was raised on transcripts goes on as somebody else (`<Rosa> `), whole or half said."""


def choose_persona(cast: Cast | None, who: str) -> Persona:
    """Return the self to talk with: one of the cast by name or address, or any address. Raises UsageError."""
    try:
        if cast is not None:
            return cast.find_persona(who)
    except UsageError as error:
        if "@" not in who:
            raise UsageError(
                error.problem, f"{error.fix}; or give any address, such as ember@chat-000150"
            ) from error
    address = Address.parse(who)
    name = " ".join(part.capitalize() for part in address.lineage.split("-"))
    return Persona(name=name[:32].strip(), address=str(address))


class Parlor:
    """A talk. The scene begins with the first line; nothing is kept of a talk in which nothing was said."""

    def __init__(self, store: Store, voice: Voice, persona: Persona, *, seed: int | None = None) -> None:
        self.persona = persona
        self.seed = seed
        self.scene: Scene | None = None
        self._store = store
        self._voice = voice
        self._drawing: asyncio.Task[Utterance] | None = None

    async def say(self, text: str) -> Message:
        """Keep what the person said."""
        if self.scene is None:
            spec = SceneSpec(name="talk", cast=(PERSON, self.persona.name))
            self.scene = await self._store.begin_scene(spec, place="terminal")
        return await self._store.say(self.scene.id, speaker=PERSON, text=text, origin="parlor")

    async def messages(self) -> list[Message]:
        """Return the talk as it stands: of answers to one line only the newest."""
        if self.scene is None:
            return []
        messages = await self._store.messages(self.scene.id)
        newest = {m.reply_to: m.id for m in messages if not m.human}
        return [m for m in messages if m.human or newest[m.reply_to] == m.id]

    async def answer(self, show: Callable[[str], None]) -> Message | None:
        """Let the self answer the person's last line, and keep the answer; again for another answer.

        `show` gets the whole answer so far whenever there is more of it. After `stop` the answer ends where
        it is. Returns None when nothing was said. Raises UsageError before the first line, EngineError when
        the engine fails; what had come until then is kept.
        """
        heard = [m for m in await self.messages() if m.human]
        if self.scene is None or not heard:
            raise UsageError("nothing has been said yet", "say something first")
        asked = heard[-1]
        lines = [
            Line(m.speaker, m.text, m.id, m.human) for m in await self.messages() if m.reply_to != asked.id
        ]
        scene = await self._store.scene(self.scene.id)
        seed = seed_from("talk", scene.id if self.seed is None else self.seed, scene.turns)
        info = await self._voice.info(self.persona.address)
        prompt, sampling = await self._voice.compose(
            self.persona, lines, names=(PERSON, self.persona.name), seed=seed
        )
        if info.form == "chat":
            sampling = sampling.model_copy(update={"max_tokens": max(CHAT_TOKENS, sampling.max_tokens)})
        utterance = await self._draw(info, prompt, sampling, show)
        text = self._read(info, utterance.text)
        kept = await self._store.keep_turn(
            scene.id,
            speaker=self.persona.name,
            utterances=[utterance],
            chosen=0 if text else None,
            text=text,
            reply_to=asked.id,
        )
        if utterance.error:
            raise EngineError(utterance.error, "what came until then is kept; /regen tries again")
        return await self._store.mark_posted(kept.id) if kept else None

    def stop(self) -> None:
        """End the answer that is being drawn, wherever it is."""
        if self._drawing is not None:
            self._drawing.cancel()

    async def leave(self) -> None:
        """End the talk."""
        if self.scene is not None:
            await self._store.end_scene(self.scene.id, "left")

    async def _draw(
        self, info: ModelInfo, prompt: Prompt, sampling: Sampling, show: Callable[[str], None]
    ) -> Utterance:
        """Stream one answer. What came before `stop` or before the engine failed is an utterance too."""
        pieces: list[str] = []
        started = datetime.now(UTC)

        async def collect() -> Utterance:
            async with aclosing(self._voice.stream(info.address, prompt, sampling)) as stream:
                async for piece in stream:
                    if isinstance(piece, Utterance):
                        return piece
                    pieces.append(piece)
                    show(self._read(info, "".join(pieces)))
                    # pieces may come many at once; `stop` takes effect between any two
                    await asyncio.sleep(0)
            raise AssertionError("a stream ends with an utterance")

        self._drawing = asyncio.create_task(collect())
        try:
            await asyncio.wait([self._drawing])
            if self._drawing.cancelled():
                return unfinished(info, prompt, sampling, started, "".join(pieces))
            return self._drawing.result()
        except EngineError as error:
            return unfinished(info, prompt, sampling, started, "".join(pieces), error.problem)
        finally:
            self._drawing.cancel()
            self._drawing = None

    def _read(self, info: ModelInfo, text: str) -> str:
        """A chat self may answer in several lines; every self's words end where another's line begins."""
        if info.form == "chat":
            return OTHERS_LINE.split(text.strip(), maxsplit=1)[0].strip()
        return clean(text, self.persona.name, (PERSON,))


def as_text(messages: Sequence[Message]) -> str:
    """Return a talk as plain text, saying which age spoke."""
    return "".join(
        f"{m.speaker} ({m.address}): {m.text}\n" if m.address else f"{m.speaker}: {m.text}\n"
        for m in messages
    )
