"""The book as a PDF, set by typst. Text goes in as data, never as markup; the same book is the same bytes."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Collection
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

from book.fonts import letters_of
from book.glyphs import printed
from book.html import paragraphs
from book.manuscript import (
    Alone,
    Chapter,
    Columns,
    Facsimile,
    Item,
    Manuscript,
    Passage,
    Played,
    Prose,
    passages_of,
)
from book.opener import draw_opener
from book.passage import Runs, plain
from book.words import APPENDIX, APPENDIX_SAYS, about, colophon, facts_of, figures_of, head_of
from selves.errors import SelvesError

UNBROKEN, IN_COLUMNS = 24, 13
"""After so many characters without a space a line may break, also within a word."""


class SettingError(SelvesError):
    """typst could not set the book."""


def make_pdf(manuscript: Manuscript, fonts: Path | None = None) -> bytes:
    """Return the book as PDF; `fonts` is a folder of typefaces beside those in typst. Raises SettingError."""
    made = set_book(manuscript, "pdf", fonts=fonts)
    assert isinstance(made, bytes)
    return made


def set_book(
    manuscript: Manuscript, form: Literal["pdf", "png"], *, fonts: Path | None = None, ppi: float = 144.0
) -> Any:
    """Let typst set the book, as `pdf` or as `png` (bytes, or a list of them for several pages)."""
    try:
        import typst
    except ModuleNotFoundError as error:
        raise SettingError(
            "a PDF is set by the package 'typst', which is not installed",
            'pip install "selves[book]", or leave it out: --only epub --only site',
        ) from error
    more = letters_of(fonts) if fonts else frozenset()
    template = resources.files("book").joinpath("templates/book.typ").read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "main.typ").write_text(template, "utf-8")
        (root / "book.json").write_text(
            json.dumps(_settle(_book(manuscript), more), ensure_ascii=False), "utf-8"
        )
        try:
            return typst.compile(
                root / "main.typ",
                root=root,
                font_paths=typst.Fonts(include_system_fonts=False, font_paths=[fonts] if fonts else []),
                format=form,
                ppi=ppi,
                timestamp=datetime.combine(manuscript.date, datetime.min.time(), UTC),
            )
        except typst.TypstError as error:
            raise SettingError(
                f"the book could not be set: {error.message}", "report it as a defect, with manuscript.json"
            ) from error


def _book(manuscript: Manuscript) -> dict[str, Any]:
    return {
        "title": _runs(manuscript.title),
        "plain_title": plain(manuscript.title),
        "plain_author": plain(manuscript.author),
        "subtitle": _runs(manuscript.subtitle),
        "author": _runs(manuscript.author),
        "language": manuscript.language.split("-")[0].lower(),
        "date": [manuscript.date.year, manuscript.date.month, manuscript.date.day],
        "rule": _paragraphs(manuscript.rule),
        "about": about(manuscript),
        "appendix": APPENDIX,
        "appendix_says": APPENDIX_SAYS,
        "chapters": [_chapter(manuscript, chapter) for chapter in manuscript.chapters],
    }


def _chapter(manuscript: Manuscript, chapter: Chapter) -> dict[str, Any]:
    opener = chapter.opener
    return {
        "title": _runs(chapter.title),
        "stage": opener.stage if opener else "",
        "age": opener.age if opener else "",
        "head": head_of(opener) if opener else "",
        "curve": draw_opener(manuscript.curve, opener.age) if opener and manuscript.curve else "",
        "items": [_item(item) for item in chapter.items],
        "figures": figures_of(chapter.figures),
        "sources": [_source(passage) for item in chapter.items for passage in passages_of(item)],
    }


def _item(item: Item) -> dict[str, Any]:
    match item:
        case Prose():
            return {"kind": "prose", "paragraphs": _paragraphs(item.text)}
        case Alone():
            return {"kind": "passage", "passage": _passage(item.passage)}
        case Facsimile():
            return {
                "kind": "facsimile",
                "passage": _passage(item.passage),
                "siblings": [_passage(sibling) for sibling in item.siblings],
            }
        case Columns():
            return {
                "kind": "columns",
                "given": _runs(item.given),
                "passages": [_column(passage, shared=item.given != ("",)) for passage in item.passages],
            }
        case Played():
            return {
                "kind": "letter" if item.letter else "scene",
                "title": _runs(item.title),
                "premise": _runs(item.premise),
                "date": item.date,
                "speakers": [_visible(f"{name} is {address}") for name, address in item.speakers],
                "lines": [_passage(line) for line in item.lines],
                "left_out": item.left_out,
                "ending": item.ending,
            }


def _column(passage: Passage, *, shared: bool) -> dict[str, Any]:
    if not shared:
        return _passage(passage, IN_COLUMNS)
    return {**_passage(passage, IN_COLUMNS), "given": [""]}


def _passage(passage: Passage, unbroken: int = UNBROKEN) -> dict[str, Any]:
    source = passage.source
    return {
        "label": _visible(passage.label),
        "age": source.address.partition("@")[2] if source.address else "",
        "self": source.address is not None,
        "given": _runs(passage.given, unbroken),
        "asked": passage.asked,
        "picture": passage.picture,
        "text": _runs(passage.text, unbroken),
        "note": _paragraphs(passage.note) if passage.note else [],
        "number": source.number,
        "message": source.message_id,
        "colophon": colophon(source),
    }


def _source(passage: Passage) -> dict[str, Any]:
    return {
        "number": passage.source.number,
        "facts": [[name, _visible(value)] for name, value in facts_of(passage)],
        "original": _runs(passage.original) if passage.original else None,
    }


class _Words(NamedTuple):
    """A text that is still to be settled: which of its characters there are, and where it may break."""

    text: Runs
    unbroken: int


class _Line(NamedTuple):
    """The same as a single string."""

    text: str


def _paragraphs(text: Runs) -> list[_Words]:
    return [_runs(paragraph) for paragraph in paragraphs(text)]


def _runs(text: Runs, unbroken: int = UNBROKEN) -> _Words:
    return _Words(text, unbroken)


def _visible(text: str) -> _Line:
    return _Line(text)


def _settle(value: Any, more: Collection[str]) -> Any:
    match value:
        case _Words(text, unbroken):
            return [
                run if number % 2 else _breakable(run, unbroken)
                for number, run in enumerate(printed(text, more))
            ]
        case _Line(line):
            return _breakable(plain(printed((line,), more)), UNBROKEN)
        case dict():
            return {key: _settle(item, more) for key, item in value.items()}
        case list():
            return [_settle(item, more) for item in value]
        case _:
            return value


def _breakable(text: str, unbroken: int) -> str:
    return re.sub(rf"[^\s-]{{{unbroken}}}(?=\S)", lambda match: match[0] + "\u200b", text)
