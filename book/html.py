"""Chapters as markup, the same for EPUB and website: templates that escape everything, and their filters."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from book.manuscript import Chapter, Manuscript, Passage, Source, passages_of
from book.opener import draw_life, draw_opener
from book.passage import Runs, html_runs
from book.words import APPENDIX, APPENDIX_SAYS, about, colophon, figures_of, head_of, sources_of

_BLANK = re.compile(r"\n[ \t]*\n\s*")


@cache
def environment() -> Environment:
    """Return the templates with their filters."""
    made = Environment(
        loader=PackageLoader("book"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        runs=html_runs,
        filled=filled,
        paragraphs=paragraphs,
        colophon=colophon,
        head=head_of,
        figures=figures_of,
        sources=sources_of,
        passages=chapter_passages,
        age=age_of,
    )
    return made


def render(name: str, book: Manuscript, **values: object) -> bytes:
    """Return a page of the book."""
    said = {"appendix": APPENDIX, "appendix_says": APPENDIX_SAYS, "about": about(book)}
    return environment().get_template(name).render(book=book, words=said, **values).encode()


def curve_at(book: Manuscript, chapter: Chapter) -> Markup:
    """Return the picture at a chapter's head; empty where there is none."""
    if book.curve is None or chapter.opener is None:
        return Markup("")
    return Markup(draw_opener(book.curve, chapter.opener.age))


def life_of(book: Manuscript) -> Markup:
    """Return the picture of the title page; empty where nothing was measured."""
    return Markup(draw_life(book.curve)) if book.curve else Markup("")


def chapter_passages(chapter: Chapter) -> Iterable[Passage]:
    """All passages of a chapter."""
    return (passage for item in chapter.items for passage in passages_of(item))


def filled(text: Runs) -> bool:
    """Whether there is more than white space in a text."""
    return any(run.strip() for run in text)


def paragraphs(text: Runs) -> list[Runs]:
    """Cut a text at its blank lines."""
    found: list[list[str]] = [[""]]
    for number, run in enumerate(text):
        if number % 2:
            found[-1] += [run, ""]
            continue
        first, *others = _BLANK.split(run)
        found[-1][-1] += first
        found += [[other] for other in others]
    return [tuple(paragraph) for paragraph in found if filled(tuple(paragraph))]


def age_of(source: Source) -> str:
    """Return the age of what a self said."""
    return source.address.partition("@")[2] if source.address else ""
