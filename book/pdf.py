"""The book as a PDF, set by typst. Text goes in as data, never as markup; the same book is the same bytes."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime
from importlib import resources
from importlib.util import find_spec
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
from book.opener import draw_life, draw_opener
from book.passage import Runs, plain
from book.words import APPENDIX, APPENDIX_SAYS, Shared, about, colophon, figures_of, head_of, sources_of
from selves.errors import SelvesError

UNBROKEN, IN_COLUMNS, HASH = 24, 13, 64
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
    return _compile("book.typ", _book(manuscript), manuscript.date, form, fonts=fonts, ppi=ppi)


def make_cover(manuscript: Manuscript, fonts: Path | None = None) -> bytes:
    """Return the cover as PNG of 1200 x 1800 pixels. Raises SettingError."""
    made = _compile("cover.typ", _head(manuscript), manuscript.date, "png", fonts=fonts, ppi=254.0)
    assert isinstance(made, bytes)
    return made


def can_set() -> bool:
    """Whether typst is installed."""
    return find_spec("typst") is not None


def _compile(
    template: str, told: Any, day: date, form: Literal["pdf", "png"], *, fonts: Path | None, ppi: float
) -> Any:
    try:
        import typst
    except ModuleNotFoundError as error:
        raise SettingError(
            "a PDF is set by the package 'typst', which is not installed",
            'pip install "selves[book]", or leave it out: --only epub --only site',
        ) from error
    more = letters_of(fonts) if fonts else frozenset()
    source = resources.files("book").joinpath("templates", template).read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "main.typ").write_text(source, "utf-8")
        (root / "book.json").write_text(json.dumps(_settle(told, more), ensure_ascii=False), "utf-8")
        try:
            return typst.compile(
                root / "main.typ",
                root=root,
                font_paths=typst.Fonts(include_system_fonts=False, font_paths=[fonts] if fonts else []),
                format=form,
                ppi=ppi,
                timestamp=datetime.combine(day, datetime.min.time(), UTC),
            )
        except typst.TypstError as error:
            raise SettingError(
                f"the book could not be set: {error.message}", "report it as a defect, with manuscript.json"
            ) from error


def _head(manuscript: Manuscript) -> dict[str, Any]:
    """What the cover shows."""
    return {
        "title": _runs(manuscript.title),
        "plain_title": plain(manuscript.title),
        "plain_author": plain(manuscript.author),
        "subtitle": _runs(manuscript.subtitle),
        "author": _runs(manuscript.author),
        "curve": draw_life(manuscript.curve) if manuscript.curve else "",
    }


def _book(manuscript: Manuscript) -> dict[str, Any]:
    return {
        **_head(manuscript),
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
        "age": opener.age if opener else "",
        "head": head_of(opener) if opener else "",
        "curve": draw_opener(manuscript.curve, opener.age) if opener and manuscript.curve else "",
        "items": [_item(item) for item in chapter.items],
        "figures": figures_of(chapter.figures),
        "sources": [
            _voice(shared) for shared in sources_of(p for i in chapter.items for p in passages_of(i))
        ],
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
                "kind": "scene",
                "letter": item.letter,
                "entry": item.entry,
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
        "beside": colophon(source, beside=True),
    }


def _voice(shared: Shared) -> dict[str, Any]:
    return {
        "title": _visible(shared.title),
        "facts": _facts(shared.facts),
        "cited": [
            {
                "number": cited.passage.source.number,
                "head": _visible(cited.head),
                "facts": _facts(cited.facts),
                "original": _runs(cited.passage.original) if cited.passage.original else None,
            }
            for cited in shared.cited
        ],
    }


def _facts(facts: Sequence[tuple[str, str]]) -> list[list[Any]]:
    return [[name, _Line(value, HASH)] for name, value in facts]


class _Words(NamedTuple):
    """A text that is still to be settled: which of its characters there are, and where it may break."""

    text: Runs
    unbroken: int


class _Line(NamedTuple):
    """The same as a single string."""

    text: str
    unbroken: int = UNBROKEN


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
        case _Line(line, unbroken):
            return _breakable(plain(printed((line,), more)), unbroken)
        case dict():
            return {key: _settle(item, more) for key, item in value.items()}
        case list():
            return [_settle(item, more) for item in value]
        case _:
            return value


def _breakable(text: str, unbroken: int) -> str:
    return re.sub(rf"[^\s-]{{{unbroken}}}(?=\S)", lambda match: match[0] + "\u200b", text)
