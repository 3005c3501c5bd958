"""Play one scene: floor, voice, guard, memory, channel, again and again until there is a reason to stop.

Every line is kept before it is posted, and all that is drawn is drawn from a seed that names its turn. So a
scene that was killed at any moment goes on where it was: `play` it again with the same key.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Literal

from bots import floor, guard, letter, pick
from bots.channel import Channel
from memory.store import Store
from memory.types import Message, Scene
from selves.cast import Cast, Persona, SceneSpec
from selves.errors import EngineError, UsageError
from selves.speech import Prompt, Sampling, Utterance, seed_from
from serving.prompt import Line, clean
from serving.voice import ModelInfo, Priority, Voice, unfinished

OPERATOR = "Host"
"""Who speaks a scene's opening line."""
ATTEMPTS = 2
"""When the guard refuses all samples of a line, it is drawn once more; all are kept."""

Clock = Callable[[], datetime]
Turn = Literal["said", "silent", "failed"]
"""How a turn went: a line was posted; all samples were refused; the engine failed."""


def utc_now() -> datetime:
    """The moment it is, aware, in UTC."""
    return datetime.now(UTC)


async def play(
    store: Store,
    voice: Voice,
    channel: Channel,
    cast: Cast,
    spec: SceneSpec,
    *,
    key: str | None = None,
    seed: int | None = None,
    now: Clock = utc_now,
    max_without_human: int = guard.MAX_WITHOUT_HUMAN,
) -> Scene:
    """Play a scene to its end and return it; its stop reason is one of `guard.StopReason`.

    A `key` makes it single: a scene with this key that has ended is returned as it is, else it goes on.
    `seed` makes it repeatable; by default it follows from the scene's id. The scene's `max_minutes` count
    from this call by `now`. `max_without_human`: so many lines may be said since a person last spoke.

    Raises, before anything is begun: UsageError for a cast that cannot play it, EngineError when the serving
    address lacks an age of the cast. Raises StoreError when the database fails, and whatever `channel.post`
    raises; the scene then stays open. Failures of the engine during the scene are kept as failed turns, and
    end it only when they go on.
    """
    personas = list(dict.fromkeys(cast.find_persona(name) for name in spec.cast))
    if spec.kind == "letter" and len(personas) < letter.LETTERS:
        raise UsageError(f"in scene {spec.name!r} somebody writes to themselves", "cast two different selves")
    infos = await find_voices(voice, personas)
    scene = await store.begin_scene(spec, place=channel.place, key=key)
    if scene.status == "ended":
        return scene
    base = seed_from("scene", scene.id) if seed is None else seed_from("scene", spec.name, seed)
    stage = _Stage(store, voice, channel, personas, infos, spec, base)
    began, failures = now(), 0
    passed: list[Line] = []
    while not channel.halted():
        scene = await store.scene(scene.id)
        messages = await stage.posted_so_far(scene)
        loops = guard.find_loops(messages)
        reason: guard.StopReason | None = guard.stop_reason(
            turns=stage.count_turns(scene, messages),
            max_turns=min(spec.max_turns, letter.LETTERS) if spec.kind == "letter" else spec.max_turns,
            minutes=(now() - began).total_seconds() / 60,
            max_minutes=spec.max_minutes,
            failures=failures,
            trips=loops.trips,
            without_human=guard.lines_without([m.human for m in messages]),
            max_without_human=max_without_human,
        )
        speaker = None if reason else stage.next_speaker(scene, [*messages, *passed])
        if speaker is None:
            return await store.end_scene(scene.id, reason or "silence")
        visible = [m for position, m in enumerate(messages) if position not in loops.hidden]
        turn = await stage.take_turn(scene, speaker, messages, visible)
        failures = failures + 1 if turn == "failed" else 0
        # the floor must go round even when nothing was said
        passed = [] if turn == "said" else [*passed, Line(speaker.name, "")]
    return await store.end_scene(scene.id, "halted")


async def find_voices(voice: Voice, personas: Sequence[Persona]) -> dict[str, ModelInfo]:
    """Return what the serving address has. Raises EngineError naming every age of the cast that it lacks."""
    infos = await voice.models()
    missing = [p for p in personas if p.address not in infos]
    if not missing:
        return infos
    who = ", ".join(f"{p.address} ({p.name})" for p in missing)
    raise EngineError(
        f"the engine at {voice.base_url} has no {who}; it has {', '.join(infos) or 'no ages at all'}",
        " and ".join(dict.fromkeys(_way_to_get(p) for p in missing))
        + ", or name other ages in the cast file; `selves ages list` shows what is there",
    )


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


@dataclass(frozen=True)
class _Stage:
    """What stays the same for all turns of a scene."""

    store: Store
    voice: Voice
    channel: Channel
    personas: Sequence[Persona]
    infos: dict[str, ModelInfo]
    spec: SceneSpec
    seed: int

    async def posted_so_far(self, scene: Scene) -> list[Message]:
        """Return the scene's messages, after posting those that a killed process left behind.

        Speaks the operator's opening first if the scene is new.
        """
        messages = await self.store.messages(scene.id)
        if not messages and self.spec.opening:
            messages = [
                await self.store.say(scene.id, speaker=OPERATOR, text=self.spec.opening, origin="operator")
            ]
        return [await self.post(m) if m.status == "pending" else m for m in messages]

    async def post(self, message: Message) -> Message:
        return await self.store.mark_posted(message.id, await self.channel.post(message))

    def count_turns(self, scene: Scene, messages: Sequence[Message]) -> int:
        """How many of the scene's turns are taken: every try counts, but a letter only when it is written."""
        return self.count_letters(messages) if self.spec.kind == "letter" else scene.turns

    def count_letters(self, lines: Sequence[floor.Line]) -> int:
        written = {line.speaker for line in lines if line.text}
        return sum(persona.name in written for persona in self.personas[: letter.LETTERS])

    def next_speaker(self, scene: Scene, lines: Sequence[floor.Line]) -> Persona | None:
        """Who has the floor; letters are written by the first of the cast and answered by the second."""
        if self.spec.kind == "letter":
            tries_left = scene.turns < letter.LETTERS * letter.TRIES
            return self.personas[self.count_letters(lines)] if tries_left else None
        rng = Random(seed_from(self.seed, scene.turns, "floor"))
        return floor.next_speaker(self.personas, lines, order=self.spec.order, rng=rng)

    async def take_turn(
        self, scene: Scene, speaker: Persona, messages: Sequence[Message], visible: Sequence[Message]
    ) -> Turn:
        """Draw a line, keep it and post it.

        The guard sees all `messages`, the speaker only the `visible` ones. Samples that were not picked, were
        refused, or came after a person's halt are kept as candidates.
        """
        heard = [message.text for message in visible]
        utterances: list[Utterance] = []
        texts: list[str] = []
        chosen: int | None = None
        for attempt in range(ATTEMPTS):
            async with self.channel.thinking(speaker):
                drawn = await self.draw(speaker, visible, seed_from(self.seed, scene.turns, attempt))
            fresh = range(len(utterances), len(utterances) + len(drawn))
            utterances += drawn
            texts += [self.read(speaker, messages, utterance) for utterance in drawn]
            fit = [
                n for n in fresh if not utterances[n].error and not guard.refuse_sample(texts[n], messages)
            ]
            if fit:
                chosen = max(fit, key=lambda n: self.score(texts[n], utterances[n], heard))
            if fit or all(utterance.error for utterance in drawn):
                break
        if self.channel.halted():
            chosen = None
        kept = await self.store.keep_turn(
            scene.id,
            speaker=speaker.name,
            utterances=utterances,
            chosen=chosen,
            text=None if chosen is None else texts[chosen],
        )
        if kept:
            await self.post(kept)
            return "said"
        return "failed" if utterances[-1].error else "silent"

    async def draw(self, speaker: Persona, visible: Sequence[Message], seed: int) -> list[Utterance]:
        """Draw as many samples as this self is asked for; a failure is an utterance too."""
        info = self.infos[speaker.address]
        started = utc_now()
        try:
            if self.spec.kind == "letter":
                prompt, sampling = await letter.compose(
                    self.voice, info, self.page(speaker, visible), seed=seed
                )
            else:
                prompt, sampling = await self.voice.compose(
                    speaker, to_lines(visible), premise=self.spec.premise, names=self.names, seed=seed
                )
        except EngineError as error:
            lost = Prompt(form=info.form), Sampling(seed=seed)
            return [unfinished(info, *lost, started, error=error.problem)]

        async def sample(number: int) -> Utterance:
            again = sampling.model_copy(update={"seed": seed_from(seed, number)})
            try:
                return await self.voice.say(speaker.address, prompt, again, priority=Priority.SCENES)
            except EngineError as error:
                return unfinished(info, prompt, again, started, error=error.problem)

        number = pick.samples_for(info) * (letter.LONGER if self.spec.kind == "letter" else 1)
        return await asyncio.gather(*map(sample, range(number)))

    def score(self, text: str, utterance: Utterance, heard: Sequence[str]) -> float:
        longer = letter.worth(text) if self.spec.kind == "letter" else 0.0
        return pick.score(text, utterance.mean_logprob, heard) + longer

    def read(self, speaker: Persona, messages: Sequence[Message], utterance: Utterance) -> str:
        """Return what of a sample is the speaker's own line, as it will be posted."""
        was_cut = utterance.finish_reason == "length"
        if self.spec.kind == "letter":
            info, page = self.infos[speaker.address], self.page(speaker, messages)
            return letter.read(info, page, utterance.text, lambda body: finish(body, was_cut=was_cut))
        return finish(clean(utterance.text, speaker.name, self.names), was_cut=was_cut)

    def page(self, writer: Persona, messages: Sequence[Message]) -> letter.Page:
        reader = next(p for p in self.personas if p.name != writer.name)
        received = next((m for m in reversed(messages) if m.speaker == reader.name), None)
        return letter.Page(writer, reader, self.spec.premise, received)

    @property
    def names(self) -> list[str]:
        opener = [OPERATOR] if self.spec.opening else []
        return [*(p.name for p in self.personas), *opener]


def to_lines(messages: Sequence[Message]) -> list[Line]:
    """Turn stored messages into lines for a prompt; erased ones are left out."""
    return [Line(m.speaker, m.text, m.id, m.human) for m in messages if m.text]


def _way_to_get(persona: Persona) -> str:
    lineage = persona.address.partition("@")[0]
    if "@import-" in persona.address:
        return f"import it with `selves ages import {lineage}`"
    return "train it with `selves train run recipes/demo.toml`"
