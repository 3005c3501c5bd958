"""What happens within one turn of a scene: whose it is, what is drawn, which sample is said, what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Literal

from bots import bids, filters, floor, guard, kinds, letter, pick, quiet
from bots.channel import Channel
from bots.lines import finish, standing, to_lines
from bots.posting import post_kept
from bots.purse import Purse
from memory import feedback
from memory.store import Store
from memory.types import Message, Scene
from selves.cast import Filter, Persona, SceneSpec
from selves.errors import EngineError
from selves.speech import Prompt, Sampling, Utterance, seed_from
from serving.prompt import Line, clean
from serving.voice import ModelInfo, Priority, Voice, unfinished

OPERATOR = "Host"
"""Who speaks a scene's opening line."""
ATTEMPTS = 2
"""When the guard refuses all samples of a line, it is drawn once more; all are kept."""
BEST_OF = "best of n"
"""By this rule a sample was chosen over its siblings."""

Turn = Literal["said", "silent", "failed"]
"""How a turn went: a line was posted; all samples were refused; the engine failed, or Discord would not take
the line."""


@dataclass(frozen=True)
class Stage:
    """What stays the same for all turns of a scene."""

    store: Store
    voice: Voice
    channel: Channel
    personas: Sequence[Persona]
    """Who plays, in the order of the cast; of letters, the writer and the reader."""
    infos: dict[str, ModelInfo]
    spec: SceneSpec
    seed: int
    purse: Purse
    filter: Filter
    received: Message | None = None
    """The letter from elsewhere that is answered here."""

    @property
    def kind(self) -> kinds.Kind:
        return kinds.KINDS[self.spec.kind]

    @property
    def is_letter(self) -> bool:
        return self.spec.kind in ("letter", "answer")

    @property
    def letters(self) -> int:
        """How many letters there are when the scene is over."""
        return 1 if self.spec.kind == "letter" and self.spec.to else letter.LETTERS

    async def posted_so_far(self, scene: Scene) -> list[Message]:
        """Return the scene's messages, after posting those that a killed process left behind.

        Speaks the operator's opening first if the scene is new. A letter that came from elsewhere is the
        first.
        """
        messages = await self.store.messages(scene.id)
        if not messages and self.spec.opening:
            messages = [
                await self.store.say(scene.id, speaker=OPERATOR, text=self.spec.opening, origin="operator")
            ]
        posted = [await self.post(m) if m.status == "pending" else m for m in messages]
        read = standing(m for m in posted if m is not None)
        return [self.received, *read] if self.received else read

    async def post(self, message: Message) -> Message | None:
        """Post a kept message and return it; None if it is refused for good."""
        return await post_kept(self.store, message, self.channel.post(message))

    def count_turns(self, scene: Scene, messages: Sequence[Message]) -> int:
        """How many of the scene's turns are taken: every try counts, but a letter only when it is written."""
        return self.count_letters(messages) if self.is_letter else scene.turns

    def count_letters(self, lines: Sequence[floor.Line]) -> int:
        written = {line.speaker for line in lines if line.text}
        return sum(persona.name in written for persona in self.personas[: letter.LETTERS])

    async def next_speaker(
        self, scene: Scene, lines: Sequence[Message | Line], present: Collection[str], without_human: int = 0
    ) -> Persona | None:
        """Who of those present has the floor.

        Letters are written by the first and answered by the second. In a kind with parts its order decides;
        but whoever a person speaks to answers first. Who chatters falls silent when no person has spoken for
        long.
        """
        here = [p for p in self.personas if p.name in present]
        last = lines[-1] if lines else None
        if self.is_letter:
            tries_left = scene.turns < letter.LETTERS * letter.TRIES
            writer = self.personas[min(self.count_letters(lines), letter.LETTERS - 1)]
            return writer if tries_left and writer in here else None
        if self.kind.order:
            if isinstance(last, Message) and last.human and (named := floor.addressed(here, last.text)):
                return named[0]
            names = [p.name for p in self.personas]
            previous = names.index(last.speaker) if last and last.speaker in names else None
            position = kinds.turn_of(self.spec, [p in here for p in self.personas], scene.turns, previous)
            return None if position is None else self.personas[position]
        rng = Random(seed_from(self.seed, scene.turns, "floor"))
        likely: dict[str, float] = {}
        if self.spec.order == "bids":
            said = [Line(line.speaker, line.text) for line in lines if line.text]
            likely = await bids.expected(self.voice, here, self.infos, here, said, premise=self.spec.premise)
        resting: set[str] = set()
        if self.kind.may_be_silent and last is not None:
            spoken = [quiet.Spoken(m.speaker, m.created_at) for m in lines if isinstance(m, Message)]
            resting = quiet.resting_with(last.speaker, spoken, self.store.clock())
        return floor.next_speaker(
            [p for p in here if p.name not in resting],
            lines,
            order="round" if self.spec.order == "round" else "floor",
            rng=rng,
            may_be_silent=self.kind.may_be_silent,
            expected=likely,
            reserve=max(0, without_human - guard.SOFT_WITHOUT_HUMAN) / guard.SOFT_WITHOUT_HUMAN,
        )

    async def take_turn(
        self, scene: Scene, speaker: Persona, messages: Sequence[Message], visible: Sequence[Message]
    ) -> tuple[Turn, int]:
        """Draw a line, keep it and post it; return how it went, and how many tokens were drawn.

        The guard sees all `messages`, the speaker only the `visible` ones. Samples that were not picked, were
        refused, or came after a person's halt are kept as candidates.
        """
        visible = kinds.heard(self.spec, speaker.name, visible)
        heard = [message.text for message in visible]
        utterances: list[Utterance] = []
        texts: list[str] = []
        chosen: int | None = None
        # all tries are one turn: whoever is paused or halted in between has begun to speak
        async with self.channel.thinking(speaker):
            for attempt in range(ATTEMPTS):
                drawn = await self.draw(speaker, visible, seed_from(self.seed, scene.turns, attempt))
                fresh = range(len(utterances), len(utterances) + len(drawn))
                utterances += drawn
                texts += [self.read(speaker, messages, utterance) for utterance in drawn]
                fit = [
                    n
                    for n in fresh
                    if not utterances[n].error and not self.refuse(speaker, texts[n], messages)
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
            spent_in=self.purse.scopes(speaker.name),
        )
        tokens = sum(len(utterance.token_ids) for utterance in utterances)
        if kept:
            if await self.post(kept) is None:
                return "failed", tokens
            await self.keep_best(kept)
            return "said", tokens
        return "failed" if utterances[-1].error else "silent", tokens

    def refuse(self, speaker: Persona, text: str, messages: Sequence[Message]) -> str | None:
        """Return the rule that a sample breaks, or None."""
        rule = guard.refuse_sample(text, () if self.kind.may_repeat else messages)
        return rule or filters.refuse(self.filter, speaker.name, text)

    async def keep_best(self, message: Message) -> None:
        """Note that a sample was chosen over those that were drawn beside it."""
        born = await self.store.provenance(message.id)
        assert born.generation is not None
        best = born.generation.id
        for other in born.siblings:
            if not other.error:
                key = f"{BEST_OF}:{best}:{other.id}"
                await feedback.keep(self.store, "best_of", best, other_id=other.id, via=BEST_OF, key=key)

    async def draw(self, speaker: Persona, visible: Sequence[Message], seed: int) -> list[Utterance]:
        """Draw as many samples as this self is asked for; a failure is an utterance too."""
        info = self.infos[speaker.address]
        started = datetime.now(UTC)
        try:
            if self.is_letter:
                prompt, sampling = await letter.compose(
                    self.voice, info, self.page(speaker, visible), seed=seed
                )
            else:
                told = kinds.told(self.spec, speaker.name)
                prompt, sampling = await self.voice.compose(
                    speaker, to_lines(visible), premise=told, names=self.names, seed=seed
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

        number = pick.samples_for(info) * (letter.LONGER if self.is_letter else 1)
        return await asyncio.gather(*map(sample, range(number)))

    def score(self, text: str, utterance: Utterance, heard: Sequence[str]) -> float:
        longer = letter.worth(text) if self.is_letter else 0.0
        return pick.score(text, utterance.mean_logprob, heard) + longer

    def read(self, speaker: Persona, messages: Sequence[Message], utterance: Utterance) -> str:
        """Return what of a sample is the speaker's own line, as it will be posted."""
        was_cut = utterance.finish_reason == "length"
        if self.is_letter:
            info, page = self.infos[speaker.address], self.page(speaker, messages)
            written = letter.read(info, page, utterance.text, lambda body: finish(body, was_cut=was_cut))
            return "\n".join(map(filters.plain, written.split("\n")))
        return filters.plain(finish(clean(utterance.text, speaker.name, self.names), was_cut=was_cut))

    def page(self, writer: Persona, messages: Sequence[Message]) -> letter.Page:
        reader = next(p for p in self.personas if p.name != writer.name)
        received = next((m for m in reversed(messages) if m.speaker == reader.name), None)
        return letter.Page(writer, reader, kinds.told(self.spec, writer.name), received)

    @property
    def names(self) -> list[str]:
        opener = [OPERATOR] if self.spec.opening else []
        return [*(p.name for p in self.personas), *opener]
