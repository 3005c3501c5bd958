"""A manuscript that holds given texts in every place where a text can stand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import count

from book.curve import Mark, draw_curve
from book.manuscript import (
    Alone,
    Chapter,
    Columns,
    Facsimile,
    Manuscript,
    Opener,
    Passage,
    Played,
    Prose,
    Source,
)
from book.passage import plain, runs
from book.tally import reckon
from selves.files import sha256_text
from selves.speech import Sampling

AGES = ("base-000000", "base-000010", "base-000100")


def passage(
    text: str, number: int, *, label: str = "diary", given: str = "", self_said: bool = True
) -> Passage:
    """Return a passage as it would come from memory."""
    return Passage(
        label=plain(runs(label)),
        given=runs(given),
        text=runs(text),
        note=runs(text),
        model_characters=len(text) if self_said else 0,
        source=Source(
            number=number,
            generation_id=number if self_said else None,
            message_id=number + 1000,
            address=f"tiny@{AGES[number % 3]}" if self_said else None,
            origin="self" if self_said else "operator",
            text_sha256=sha256_text(text),
            start=0,
            end=len(text),
            length=len(text),
            drawn=4 if self_said else 0,
            weights_sha256="a" * 64 if self_said else "",
            engine="embedded",
            engine_version="1",
            sampling=Sampling(seed=number).model_dump(mode="json") if self_said else {},
            prompt_sha256="b" * 64,
            prompt_from=(1, 2),
            finish_reason="stop",
            said_at="2026-01-01T00:00:00+00:00",
        ),
    )


def manuscript(texts: Sequence[str]) -> Manuscript:
    """Return a book in which each text stands in every place there is, titles too."""
    marks = [Mark(age, "base", int(age[5:]), 4.0 - number, None) for number, age in enumerate(AGES)]
    numbers = count(1)
    chapters = []
    for text in texts:
        short = text[:200]
        items = (
            Prose(text=runs(text)),
            Alone(passage=passage(text, next(numbers), given=short)),
            Facsimile(passage=passage(text, next(numbers)), siblings=(passage(short, next(numbers)),)),
            Columns(given=runs(short), passages=tuple(passage(short, next(numbers)) for _ in AGES)),
            Played(
                title=runs(short),
                premise=runs(text),
                date="2026-01-01",
                speakers=((plain(runs(short)), "tiny@base-000000"),),
                lines=(
                    passage(text, next(numbers), label=short),
                    passage(text, next(numbers), label="Operator", self_said=False),
                ),
                ending="all turns are played",
            ),
            Played(title=runs(short), letter=True, lines=(passage(text, next(numbers), label=short),)),
        )
        opener = Opener(
            address="tiny@base-000010",
            age="base-000010",
            stage="base",
            step=10,
            tokens_seen=12_400,
            train_loss=3.25,
            bits_per_byte=3.0,
            parameters=1000,
            weights_sha256="a" * 64,
            born="2026-01-01T00:00:00+00:00",
        )
        chapters.append(Chapter(title=runs(short), opener=opener, items=items, figures=reckon(items, {})))
    first = texts[0][:200] if texts else ""
    return Manuscript(
        title=runs(first),
        subtitle=runs(first),
        author=runs(first),
        language="en",
        edition="1",
        date=date(2026, 1, 1),
        lineage="tiny",
        rule=runs(first),
        curve=draw_curve(marks, [], width=720, height=210),
        chapters=tuple(chapters),
        figures=reckon([item for chapter in chapters for item in chapter.items], {}),
        kept=9,
    )
