"""The book as EPUB 3: the chapters' markup, a package file and a table of contents in a zip."""

from __future__ import annotations

import io
import zipfile
from importlib import resources

from book.html import chapter_passages, curve_at, environment, life_of, render
from book.manuscript import Manuscript
from book.passage import plain
from book.words import about

MADE = (1980, 1, 1, 0, 0, 0)
"""The time of every file in the zip: the oldest that a zip can say."""
COVER = "cover.xhtml"
CONTAINER = """<?xml version="1.0" encoding="utf-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles>
</container>
"""


def make_epub(book: Manuscript, cover: bytes | None = None) -> bytes:
    """Return the book as an EPUB file, with a cover of PNG if there is one."""
    pages = _pages(book)
    if cover:
        pages[COVER] = (
            environment().get_template("cover.xhtml").render(book=book, heading=heading_of(book)).encode()
        )
    titles = [
        (f"chapter-{number:02d}.xhtml", plain(chapter.title).strip() or str(number))
        for number, chapter in enumerate(book.chapters, 1)
    ]
    drawn = {name for name, data in pages.items() if b"<svg" in data}
    package = environment().get_template("package.opf")
    files = {
        "META-INF/container.xml": CONTAINER.encode(),
        "OEBPS/book.opf": package.render(
            book=book,
            heading=heading_of(book),
            pages=sorted(pages),
            drawn=drawn,
            spine=_spine(pages),
            cover=bool(cover),
            told=" ".join(about(book)),
        ).encode(),
        "OEBPS/nav.xhtml": environment()
        .get_template("nav.xhtml")
        .render(book=book, heading=heading_of(book), titles=titles, cover=bool(cover))
        .encode(),
        "OEBPS/style.css": resources.files("book").joinpath("templates/book.css").read_bytes(),
        **({"OEBPS/cover.png": cover} if cover else {}),
        **{f"OEBPS/{name}": data for name, data in pages.items()},
    }
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        # the first file, and not compressed: so that whoever looks at the bytes knows what this is
        archive.writestr(_entry("mimetype"), b"application/epub+zip", zipfile.ZIP_STORED)
        for name, data in files.items():
            archive.writestr(_entry(name), data, zipfile.ZIP_DEFLATED, 6)
    return made.getvalue()


def heading_of(book: Manuscript) -> str:
    """Return the title as readers' shelves show it; a shelf needs one."""
    return plain(book.title).strip() or book.lineage


def _pages(book: Manuscript) -> dict[str, bytes]:
    pages = {
        "front.xhtml": render(
            "front.html", book, xhtml=True, heading=heading_of(book), contents=[], life=life_of(book)
        )
    }
    for number, chapter in enumerate(book.chapters, 1):
        name, sources = f"chapter-{number:02d}.xhtml", f"sources-{number:02d}.xhtml"
        shared = {
            "xhtml": True,
            "heading": plain(chapter.title).strip() or str(number),
            "chapter": chapter,
            "page": name,
        }
        pages[name] = render("chapter.html", book, **shared, curve=curve_at(book, chapter), appendix=sources)
        if any(True for _ in chapter_passages(chapter)):
            pages[sources] = render("sources.html", book, **shared)
    return pages


def _spine(pages: dict[str, bytes]) -> list[str]:
    """The order in which pages are read: cover, front, the chapters, then all the sources."""
    return sorted(pages, key=lambda name: (name != COVER, name != "front.xhtml", name.startswith("sources")))


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, MADE)
    entry.external_attr = 0o644 << 16
    entry.create_system = 3
    return entry
