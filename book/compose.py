"""From an outline and what memory has to the manuscript (pure).

Whatever is wrong with an outline is said at once: every item that does not exist, does not hold the quoted
words, or may not be printed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from book.curve import Curve, Mark, draw_curve
from book.manuscript import (
    PICTURE,
    Alone,
    Chapter,
    Columns,
    Facsimile,
    Item,
    Manuscript,
    Opener,
    Passage,
    Played,
    Prose,
    Source,
)
from book.metrics import Metric
from book.outline import ChapterPlan, Outline, Piece
from book.passage import plain, runs, said_to
from book.tally import reckon
from memory.figures import written_by_model
from memory.letters import DIARY
from memory.passages import Material, Written
from memory.types import Generation, Message, Scene
from selves.endings import ending
from selves.errors import UsageError
from selves.files import sha256_text
from selves.lineage import Age

_SPEAKER = re.compile(r"\s*<[^<>\n]{1,60}> ?")
LETTERS = ("letter", "answer")
"""Kinds of scenes whose lines are pages of their own."""
DAY = "retelling"
"""The kind of scene in which a self tells its day, week or chapter of life."""
ANSWER = "answer"
"""What an answer to a letter of a diary is called."""


@dataclass(slots=True)
class Wanted:
    """What an outline names, by the ids memory gave."""

    samples: set[int] = field(default_factory=set)
    lines: set[int] = field(default_factory=set)
    scenes: set[int] = field(default_factory=set)


def wanted_by(outline: Outline) -> Wanted:
    """Return which samples, lines and scenes must be read for a book."""
    wanted = Wanted()
    for chapter in outline.chapter:
        for piece in chapter.item:
            wanted.samples |= {*(piece.across or ()), *([piece.sample] if piece.sample else ())}
            wanted.lines |= {piece.message} if piece.message else set()
            wanted.scenes |= {piece.scene} if piece.scene else set()
    return wanted


def compose(
    outline: Outline, material: Material, ages: Sequence[Age], metrics: Sequence[Metric], kept: int
) -> Manuscript:
    """Put a manuscript together from what was read; `kept` is how many samples of the lineage there are.

    Raises UsageError naming every item that cannot be printed.
    """
    own = [age for age in ages if age.address.lineage == outline.lineage]
    composer = _Composer(outline, material, {age.address.age: age for age in own})
    chapters = tuple(composer.chapter(number, plan) for number, plan in enumerate(outline.chapter, 1))
    if composer.problems:
        raise UsageError(
            "\n".join(composer.problems),
            "change or remove these items in the outline; `selves book plan` proposes what can be printed",
        )
    return Manuscript(
        title=runs(outline.title),
        subtitle=runs(outline.subtitle),
        author=runs(outline.author),
        language=outline.language,
        edition=outline.edition,
        date=outline.date,
        lineage=outline.lineage,
        rule=runs(outline.rule.strip()),
        curve=curve_of(own, metrics),
        chapters=chapters,
        figures=reckon([item for chapter in chapters for item in chapter.items], material.siblings),
        kept=kept,
    )


def curve_of(ages: Sequence[Age], metrics: Sequence[Metric]) -> Curve | None:
    """Lay out the curve that stands at the head of chapters."""
    marks = [
        Mark(a.address.age, a.address.stage, a.address.step, a.card.bits_per_byte, a.card.train_loss)
        for a in ages
        if a.card.bits_per_byte is not None and math.isfinite(a.card.bits_per_byte)
    ]
    return draw_curve(marks, metrics, width=720, height=210)


class _Composer:
    """Numbers passages as they come, and notes what is wrong."""

    def __init__(self, outline: Outline, material: Material, ages: dict[str, Age]) -> None:
        self.problems: list[str] = []
        self._outline, self._material, self._ages = outline, material, ages
        self._number = 0
        self._where = ""

    def chapter(self, number: int, plan: ChapterPlan) -> Chapter:
        items: list[Item] = []
        self._where = f"chapter {number} ({plan.title})"
        opener = self._opener(plan.age) if plan.age else None
        for place, piece in enumerate(plan.item, 1):
            self._where = f"chapter {number} ({plan.title}), item {place}"
            item = self._item(piece)
            if item is not None:
                items.append(item)
        return Chapter(
            title=runs(plan.title),
            opener=opener,
            items=tuple(items),
            figures=reckon(items, self._material.siblings),
        )

    def _wrong(self, what: str) -> None:
        self.problems.append(f"{self._where}: {what}")

    def _opener(self, name: str) -> Opener | None:
        age = self._ages.get(name.rpartition("@")[2])
        if age is None:
            self._wrong(f"there is no age {name} of {self._outline.lineage}")
            return None
        return opener_of(age)

    def _item(self, piece: Piece) -> Item | None:
        match piece.kind:
            case "prose":
                return Prose(text=runs((piece.prose or "").strip()))
            case "scene":
                return self._scene(piece)
            case "across":
                return self._across(piece.across or ())
            case _:
                return self._single(piece)

    def _across(self, numbers: Sequence[int]) -> Item | None:
        known = [self._material.samples[number] for number in numbers if number in self._material.samples]
        given = {given_to(sample)[0] for sample in known}
        shared = given.pop() if len(given) == 1 else ""
        found = [self._sample(number, Piece(sample=number), apart=bool(shared)) for number in numbers]
        passages = tuple(one for one in found if one is not None)
        return Columns(given=runs(shared), passages=passages) if passages else None

    def _single(self, piece: Piece) -> Item | None:
        if piece.sample is not None:
            passage, sample = self._sample(piece.sample, piece), piece.sample
        else:
            assert piece.message is not None
            line = self._material.lines.get(piece.message)
            passage = self._line(piece.message, piece)
            sample = (line.generation_id if line else None) or 0
        if passage is None:
            return None
        if not piece.siblings:
            return Alone(passage=passage)
        allowed = [
            other
            for other in self._material.siblings.get(sample, ())
            if self._material.sample_verdicts[other].allowed
        ]
        others = [self._sample(other, Piece(sample=other)) for other in allowed]
        return Facsimile(passage=passage, siblings=tuple(one for one in others if one is not None))

    def _sample(self, number: int, piece: Piece, *, apart: bool = False) -> Passage | None:
        sample = self._material.samples.get(number)
        if sample is None:
            self._wrong(f"there is no sample {number}")
            return None
        verdict = self._material.sample_verdicts[number]
        if not verdict.allowed:
            self._wrong(f"sample {number} may not be printed: {verdict.reason}")
            return None
        written = self._material.writings.get(number)
        if written is None:
            label, given, asked = sample.speaker or sample.address, "", False
        else:
            label = kind_of(written, self._outline.lineage)
            given, asked = given_to(sample)
        return self._passage(
            piece,
            label,
            sample.text,
            sample,
            None,
            given=given,
            asked=asked,
            indented=(bool(given) and not asked and not apart) or label.startswith(PICTURE),
        )

    def _line(self, number: int, piece: Piece) -> Passage | None:
        line = self._material.lines.get(number)
        if line is None:
            self._wrong(f"there is no message {number}")
            return None
        verdict = self._material.line_verdicts[number]
        if not verdict.allowed:
            self._wrong(f"message {number} may not be printed: {verdict.reason}")
            return None
        sample = self._material.samples.get(line.generation_id or 0)
        return self._passage(piece, line.speaker, line.text, sample, line)

    def _passage(
        self,
        piece: Piece,
        label: str,
        stored: str,
        sample: Generation | None,
        line: Message | None,
        *,
        given: str = "",
        asked: bool = False,
        indented: bool = False,
    ) -> Passage | None:
        start, end = _trimmed(stored, indented=indented)
        if piece.quote is not None:
            start = stored.find(piece.quote)
            end = start + len(piece.quote)
            if start < 0:
                self._wrong(f"{piece.quote!r} does not stand in it")
                return None
            if start > 0:
                given = ""
        shown = stored[start:end] if piece.edited is None else piece.edited
        self._number += 1
        source = source_of(
            self._number,
            sample,
            line,
            self._material,
            start=start,
            end=end,
            length=len(stored.strip()) if piece.quote is None else len(stored),
            edited=piece.edited is not None and piece.edited != stored[start:end],
        )
        return Passage(
            label=plain(runs(label)),
            given=runs(given),
            asked=asked,
            text=runs(shown),
            original=runs(stored[start:end]) if source.edited else None,
            note=runs(piece.note.strip()) if piece.note else None,
            model_characters=written_by_model(shown, sample.text if sample else None),
            source=source,
        )

    def _scene(self, piece: Piece) -> Item | None:
        assert piece.scene is not None
        scene = self._material.scenes.get(piece.scene)
        if scene is None:
            self._wrong(f"there is no scene {piece.scene}")
            return None
        ids = [
            number
            for number in self._material.lines_of.get(scene.id, ())
            if (piece.first or 1) <= self._material.lines[number].sequence <= (piece.last or scene.messages)
        ]
        allowed = [number for number in ids if self._material.line_verdicts[number].allowed]
        lines = [self._line(number, Piece(message=number)) for number in allowed]
        said = [self._material.lines[number] for number in allowed]
        if not said:
            self._wrong(f"scene {piece.scene} has no line that may be printed")
            return None
        letter, alone = scene.kind in LETTERS, scene.kind in (*LETTERS, DAY)
        whole = piece.last is None or piece.last >= scene.messages
        return Played(
            title=runs(title_of(scene, said[0].speaker, self._outline.lineage)),
            letter=letter,
            entry=scene.kind == DAY,
            premise=runs(scene.premise.strip()) if (piece.first or 1) == 1 else ("",),
            date=date_of(scene),
            speakers=speakers_of(said),
            lines=tuple(line for line in lines if line is not None),
            left_out=len(ids) - len(said),
            ending=ending(scene.stop_reason) if whole and scene.status == "ended" and not alone else "",
        )


def opener_of(age: Age) -> Opener:
    """Return how a chapter about an age begins."""
    card = age.card
    return Opener(
        address=card.address,
        age=age.address.age,
        stage=age.address.stage,
        step=age.address.step,
        tokens_seen=card.tokens_seen,
        train_loss=_finite(card.train_loss),
        bits_per_byte=_finite(card.bits_per_byte),
        parameters=card.parameters,
        weights_sha256=card.weights_sha256,
        born=card.created_at.astimezone(UTC).isoformat(),
    )


def source_of(
    number: int,
    sample: Generation | None,
    line: Message | None,
    material: Material,
    *,
    start: int,
    end: int,
    length: int,
    edited: bool,
) -> Source:
    """Return where a passage comes from, as memory has it. There must be a sample or a line."""
    said_at = line.created_at if line else sample.started_at if sample else datetime.max
    stored = line.text if line else sample.text if sample else ""
    return Source(
        number=number,
        generation_id=sample.id if sample else None,
        message_id=line.id if line else None,
        address=line.address if line else sample.address if sample else None,
        origin=line.origin if line else "self",
        text_sha256=sha256_text(stored),
        sample_sha256=sha256_text(sample.text) if sample else "",
        start=start,
        end=end,
        length=length,
        edited=edited,
        drawn=1 + len(material.siblings.get(sample.id, ())) if sample else 0,
        copied=material.copied.get(sample.id) if sample else None,
        said_at=said_at.isoformat(),
        **(_drawn(sample) if sample else {}),
    )


def kind_of(written: Written, lineage: str) -> str:
    """Return what a writing is called: `poem`, `last words to the future`, `letter to base-000400`."""
    name = written.kind.removesuffix("-past").replace("-", " ")
    return f"{name} to {_reader(written.to, lineage)}" if written.to else name


def title_of(scene: Scene, speaker: str, lineage: str) -> str:
    """Return `Ash, week 48 of 2026`; `Ember base 400 to the future`; or what the cast calls the scene."""
    if scene.kind == DAY:
        return f"{speaker}, {_when(scene.spec.opening)}"
    if scene.place == DIARY or scene.name == ANSWER:
        return f"{speaker} to {_reader(scene.spec.to, lineage)}" if scene.spec.to else f"{speaker} answers"
    return scene.name.replace("-", " ")


def date_of(scene: Scene) -> str:
    """Return the day on which a scene began."""
    return scene.started_at.astimezone(UTC).date().isoformat()


def speakers_of(said: Sequence[Message]) -> tuple[tuple[str, str], ...]:
    """Return the selves that spoke, in the order they did."""
    return tuple(dict.fromkeys((plain(runs(m.speaker)), m.address) for m in said if m.address))


def _reader(to: str, lineage: str) -> str:
    return "the future" if to == "future" else to.removeprefix(f"{lineage}@")


def given_to(sample: Generation) -> tuple[str, bool]:
    """What a writing began with on the page, without the name in front of it; or what the self was asked."""
    if sample.prompt is None:
        return "", False
    given = said_to(sample.prompt)
    if sample.prompt.form == "chat":
        return given.strip(), True
    return _SPEAKER.sub("", given.rsplit("\n", 1)[-1], count=1), False


def _trimmed(text: str, *, indented: bool) -> tuple[int, int]:
    """Where a text begins and ends without white space around it; one that goes on keeps its first space."""
    end = len(text.rstrip())
    start = len(text) - len(text.lstrip("\n") if indented else text.lstrip())
    return min(start, end), end


def _drawn(sample: Generation) -> dict[str, object]:
    sampling = sample.sampling.model_dump(mode="json")
    sampling["stop"] = [plain(runs(stop)) for stop in sampling["stop"]]
    return {
        "weights_sha256": sample.weights_sha256,
        "engine": sample.engine,
        "engine_version": sample.engine_version,
        "sampling": sampling,
        "prompt_sha256": sample.prompt_sha256,
        "prompt_from": sample.prompt_message_ids,
        "finish_reason": sample.finish_reason,
    }


def _when(name: str) -> str:
    """Return a period in words: `2026-11-23`, `2026-W48` and `2026-11` are how a diary names them."""
    for form, said in (("%Y-%m-%d", "%-d %B %Y"), ("%Y-%m", "%B %Y")):
        try:
            return f"{datetime.strptime(name, form).replace(tzinfo=UTC):{said}}"
        except ValueError:
            continue
    year, _, week = name.partition("-W")
    return f"week {int(week)} of {year}" if year.isdecimal() and week.isdecimal() else name


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
