"""The book as a static website: a page a chapter, its sources on a page of their own, one style sheet.

Nothing in it is asked of anybody else, there is no script, and a Content-Security-Policy says so.
"""

from __future__ import annotations

from importlib import resources

from book.html import chapter_passages, curve_at, life_of, render
from book.manuscript import Manuscript
from book.passage import plain


def make_site(book: Manuscript) -> dict[str, bytes]:
    """Return the website's files by name."""
    pages = {"index.html": b"", "style.css": _style()}
    names = [f"chapter-{number:02d}.html" for number in range(1, len(book.chapters) + 1)]
    turns = [(name, chapter.title) for name, chapter in zip(names, book.chapters, strict=True)]
    pages["index.html"] = render(
        "front.html",
        book,
        life=life_of(book),
        xhtml=False,
        first=True,
        heading=plain(book.title),
        contents=list(zip(names, book.chapters, strict=True)),
        before=None,
        after=(names[0], book.chapters[0].title),
        sources_page="",
    )
    for number, (name, chapter) in enumerate(zip(names, book.chapters, strict=True), 1):
        sources = f"sources-{number:02d}.html" if any(True for _ in chapter_passages(chapter)) else ""
        shared = {
            "xhtml": False,
            "first": False,
            "heading": f"{plain(chapter.title)} · {plain(book.title)}",
            "chapter": chapter,
            "page": name,
        }
        pages[name] = render(
            "chapter.html",
            book,
            **shared,
            curve=curve_at(book, chapter),
            appendix=sources,
            before=turns[number - 2] if number > 1 else ("index.html", book.title),
            after=turns[number] if number < len(turns) else None,
            sources_page=sources,
        )
        if sources:
            pages[sources] = render(
                "sources.html", book, **shared, before=(name, chapter.title), after=None, sources_page=""
            )
    return pages


def _style() -> bytes:
    folder = resources.files("book").joinpath("templates")
    return b"\n".join(folder.joinpath(name).read_bytes() for name in ("book.css", "site.css"))
