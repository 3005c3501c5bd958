"""A lineage's life as a page shows it: its ages, what each wrote, and the scenes it was in.

Pure: ages, metrics, scenes and the cast go in, a `Life` comes out; `page.py` makes HTML of it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from book.colour import Ink, make_ink
from book.curve import Curve, Mark, draw_curve
from book.metrics import Metric
from book.passage import said_to
from memory.letters import DIARY
from memory.types import Message, Scene
from selves.cast import Cast
from selves.endings import ending
from selves.lineage import Age, AgeCard
from selves.speech import Sampling, Utterance, Writing

SCENES_SHOWN = 12
"""A page shows the newest scenes, at most this many."""


@dataclass(frozen=True, slots=True)
class Passage:
    """One thing a self wrote."""

    given: str
    """What it was given; the text continues it, or answers it when `asked`."""
    asked: bool
    text: str
    provenance: str
    """How it was drawn: the seed, and the rest where it differs from what is usual in this life."""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class AgeView:
    """One age."""

    name: str
    stage: str
    step: int
    card: AgeCard
    folder: str
    """Where it lies, as the house would say it: `home/checkpoints/ember/base-000400`."""
    diary: tuple[Passage, ...]
    letters: tuple[Passage, ...]
    continuations: tuple[Passage, ...]

    @property
    def words(self) -> Passage | None:
        """The first thing it wrote: what the curve shows beside its dot."""
        return next(iter((*self.continuations, *self.diary, *self.letters)), None)


@dataclass(frozen=True, slots=True)
class LineView:
    """One message of a scene."""

    message: Message
    ink: Ink | None
    """The colour of its speaker; None for who is not in the cast."""
    known: bool
    """Whether the age that spoke is on this page."""


@dataclass(frozen=True, slots=True)
class SceneView:
    """One conversation or correspondence."""

    scene: Scene
    lines: tuple[LineView, ...]
    ending: str
    speakers: tuple[tuple[str, str], ...]
    """Name and address of every self that spoke, in the order they did."""


@dataclass(frozen=True, slots=True)
class Life:
    """Everything on one page."""

    lineage: str
    ages: tuple[AgeView, ...]
    curve: Curve | None
    small_curve: Curve | None
    """The same, narrow enough for a phone."""
    prompt: str
    """What every age continued."""
    sampling: str
    """How most of what it wrote was drawn, but for the seed."""
    scenes: tuple[SceneView, ...]
    scenes_left_out: int
    """Older scenes that are kept in the house and not shown."""
    scenes_with_people: int
    """Scenes that are not shown because people speak in them."""
    others: tuple[AgeCard, ...]
    """Ages of other lineages that spoke in the scenes shown."""
    sources: tuple[str, ...]
    """What it learned from."""

    @property
    def title(self) -> str:
        return self.lineage.capitalize()

    @property
    def began_as(self) -> str:
        """What it was before it learned: random numbers, or for a branch an age of another lineage."""
        return self.ages[0].card.parent or "random numbers"

    @property
    def born_at(self) -> datetime:
        return min(age.card.created_at for age in self.ages)

    @property
    def newest(self) -> AgeView:
        return self.ages[-1]

    @property
    def tokens_seen(self) -> int:
        return max(age.card.tokens_seen for age in self.ages)

    @property
    def measured(self) -> tuple[AgeView, ...]:
        """Ages whose bits per byte are known: those that have a dot on the curve."""
        names = {dot.name for dot in self.curve.dots} if self.curve else ()
        return tuple(age for age in self.ages if age.name in names)


def tell_life(
    lineage: str,
    ages: Sequence[Age],
    metrics: Sequence[Metric],
    scenes: Sequence[tuple[Scene, Sequence[Message]]],
    cast: Cast | None,
    *,
    relative_to: Path,
    withheld: Collection[tuple[str, str, int]] = (),
) -> Life:
    """Put a life together from all ages that are known (at least one of `lineage`) and all scenes, in order.

    Scenes in which nobody of this lineage speaks are passed over, and so are those in which people do: their
    words are not ours to print, and selves repeat what they hear. What ages wrote and what is `withheld` (by
    address, kind and number) is passed over too. Paths are given relative to `relative_to`.
    Raises AgeError when a diary is damaged.
    """
    written = [
        (age, [w for w in age.writings() if (age.card.address, w.kind, w.number) not in withheld])
        for age in ages
        if age.address.lineage == lineage
    ]
    sampling = _most([describe_sampling(w.utterance.sampling) for _, writings in written for w in writings])
    own = [_age_view(age, writings, sampling, relative_to) for age, writings in written]
    marks = [
        Mark(age.name, age.stage, age.step, age.card.bits_per_byte, age.card.train_loss)
        for age in own
        if age.card.bits_per_byte is not None and math.isfinite(age.card.bits_per_byte)
    ]
    answered = {scene.from_message_id for scene, _ in scenes}
    present = [
        (scene, messages)
        for scene, messages in scenes
        if _speaks(lineage, messages) and not _stands_in_diary(scene, messages, answered)
    ]
    printable = [(scene, messages) for scene, messages in present if not any(m.human for m in messages)]
    shown = printable[-SCENES_SHOWN:]
    inks = {persona.name: make_ink(persona.color) for persona in cast.persona} if cast else {}
    spoke = {m.address for _, messages in shown for m in messages}
    return Life(
        lineage=lineage,
        ages=tuple(own),
        curve=draw_curve(marks, metrics, width=720, height=330),
        small_curve=draw_curve(marks, metrics, width=360, height=300),
        prompt=_most([passage.given for age in own for passage in age.continuations]),
        sampling=sampling,
        scenes=tuple(
            _scene_view(scene, messages, inks, {age.card.address for age in own}) for scene, messages in shown
        ),
        scenes_left_out=len(printable) - len(shown),
        scenes_with_people=len(present) - len(printable),
        others=tuple(a.card for a in ages if a.card.address in spoke and a.address.lineage != lineage),
        sources=_sources([age.card for age in own]),
    )


def _age_view(age: Age, writings: Sequence[Writing], sampling: str, relative_to: Path) -> AgeView:
    folder = age.folder
    return AgeView(
        name=age.address.age,
        stage=age.address.stage,
        step=age.address.step,
        card=age.card,
        folder=(folder.relative_to(relative_to) if folder.is_relative_to(relative_to) else folder).as_posix(),
        diary=_passages(writings, "diary", sampling),
        letters=_passages(writings, "letter", sampling),
        continuations=_passages(writings, "continuation", sampling),
    )


def _passages(writings: Sequence[Writing], kind: str, sampling: str) -> tuple[Passage, ...]:
    chosen = sorted((w for w in writings if w.kind == kind), key=lambda writing: writing.number)
    return tuple(_passage(writing.utterance, sampling) for writing in chosen)


def _passage(utterance: Utterance, sampling: str) -> Passage:
    seed, drawn = f"seed {utterance.sampling.seed}", describe_sampling(utterance.sampling)
    return Passage(
        given=said_to(utterance.prompt),
        asked=utterance.prompt.form == "chat",
        text=utterance.text.strip("\n").rstrip()
        if utterance.prompt.form == "transcript"
        else utterance.text.strip(),
        provenance=seed if drawn == sampling else f"{seed}, {drawn}",
        error=utterance.error,
    )


def describe_sampling(sampling: Sampling) -> str:
    """Return how a text was drawn, but for the seed: `temperature 0.8, top-p 0.95`."""
    parts = [f"temperature {sampling.temperature:g}", f"top-p {sampling.top_p:g}"]
    if sampling.repetition_penalty != 1.0:
        parts.append(f"repetition penalty {sampling.repetition_penalty:g}")
    return ", ".join(parts)


def _most(values: Sequence[str]) -> str:
    """Return what is there most often; the earliest of those, if several; empty if nothing is there."""
    return max(dict.fromkeys(values), key=values.count) if values else ""


def _speaks(lineage: str, messages: Sequence[Message]) -> bool:
    return any(m.address is not None and m.address.startswith(f"{lineage}@") for m in messages)


def _stands_in_diary(scene: Scene, messages: Sequence[Message], answered: Collection[int | None]) -> bool:
    """Whether it is a letter of a diary that nobody answered: its age has it already."""
    in_diary = scene.place == DIARY and scene.kind == "letter"
    return in_diary and not any(message.id in answered for message in messages)


def _scene_view(
    scene: Scene, messages: Sequence[Message], inks: Mapping[str, Ink | None], on_page: set[str]
) -> SceneView:
    posted = [message for message in messages if message.status == "posted"]
    return SceneView(
        scene=scene,
        lines=tuple(LineView(m, inks.get(m.speaker), m.address in on_page) for m in posted),
        ending=f"{ending(scene.stop_reason).capitalize()}.",
        speakers=tuple(dict.fromkeys((m.speaker, m.address) for m in posted if m.address is not None)),
    )


def _sources(cards: Sequence[AgeCard]) -> tuple[str, ...]:
    """Return what a lineage learned from, as its recipe names it; of folders only the last part."""
    corpora: list[Any] = next((card.recipe["corpus"] for card in cards if card.recipe.get("corpus")), [])
    return tuple(filter(None, (_source(corpus) for corpus in corpora if isinstance(corpus, dict))))


def _source(corpus: Mapping[str, Any]) -> str:
    if package := corpus.get("package"):
        return f"{package} (Python package)"
    if hub := corpus.get("hub"):
        revision = corpus.get("revision")
        return f"{hub}@{revision} (Hugging Face)" if revision else f"{hub} (Hugging Face)"
    if folder := corpus.get("folder"):
        return f"{Path(folder).name} (a folder of texts)"
    return str(corpus.get("function") or "")
