"""Books to read and to take along: the pages of a built website, in a frame that runs no script."""

from __future__ import annotations

import re
from pathlib import Path

import streamlit as st

from selves.settings import House

FILES = {"book.pdf": "PDF", "book.epub": "EPUB"}
FRONT = "index.html"
CSS = "iframe { display: block; width: 100%; height: 40rem; border: 0; border-radius: .5rem; }"
JS = """
export default function ({ parentElement, data, setTriggerValue }) {
  const frame = parentElement.querySelector('iframe');
  const shown = data.book + '/' + data.name + '#' + data.at;
  if (frame.dataset.shown === shown) return;
  const turned = Boolean(frame.dataset.shown);
  frame.dataset.shown = shown;
  frame.title = data.book;
  frame.onload = () => {
    const page = frame.contentDocument;
    const style = new frame.contentWindow.CSSStyleSheet();
    style.replaceSync(data.style);
    page.adoptedStyleSheets = [style];
    page.addEventListener('click', event => {
      const link = event.target.closest('a[href]');
      if (!link) return;
      event.preventDefault();
      const to = link.getAttribute('href');
      if (/^https?:/.test(to)) window.open(to, '_blank', 'noopener');
      else if (to.startsWith('#')) page.getElementById(to.slice(1))?.scrollIntoView();
      else setTriggerValue('turn', to);
    });
    new ResizeObserver(() => {
      frame.style.height = Math.ceil(page.body.getBoundingClientRect().height) + 'px';
    }).observe(page.body);
    const place = data.at && page.getElementById(data.at);
    if (place) place.scrollIntoView();
    else if (turned) parentElement.scrollIntoView ? parentElement.scrollIntoView() : frame.scrollIntoView();
  };
  frame.srcdoc = data.page;
}
"""
"""The frame is sandboxed without scripts; what is clicked in it is heard from here."""


def read_books(house: House) -> None:
    """Draw a choice of books, their files, and the book itself."""
    folder = house.home / "books"
    made = {path.name: path for path in sorted(folder.glob("*")) if path.is_dir()} if folder.is_dir() else {}
    if not made:
        st.info("No book was made yet. In a terminal:")
        st.code("selves book plan LINEAGE\nselves book build LINEAGE", language=None)
        return
    name = st.selectbox("Book", list(made), key="book") if len(made) > 1 else next(iter(made))
    book = made[name]
    take_along(book)
    if (book / "site" / FRONT).exists():
        read_book(book)
    else:
        st.caption("To read it here, let `selves book build` make its website too.")


def take_along(book: Path) -> None:
    """Draw what can be downloaded."""
    row = st.container(horizontal=True)
    for name, words in FILES.items():
        if (book / name).exists():
            row.download_button(
                f"{words} of {book.name}",
                (book / name).read_bytes(),
                f"{book.name}{Path(name).suffix}",
                icon=":material/download:",
                key=f"book-{book.name}-{name}",
            )


def read_book(book: Path) -> None:
    """Draw the page of a book where the reader is; what is clicked turns to another."""
    site = book / "site"
    pages = {path.name for path in site.glob("*.html")}
    key = f"opened-{book.name}"
    name, at = st.session_state.get(key, (FRONT, ""))
    if name not in pages:
        name, at = FRONT, ""
    style = site / "style.css"
    frame = st.components.v2.component(
        "selves_book", html="<iframe sandbox='allow-same-origin'></iframe>", css=CSS, js=JS
    )
    turned = frame(
        key=f"reading-{book.name}",
        data={
            "book": book.name,
            "name": name,
            "at": at,
            "page": without_style((site / name).read_text("utf-8")),
            "style": style.read_text("utf-8") if style.exists() else "",
        },
        on_turn_change=lambda: None,
    ).turn
    if not turned:
        return
    name, _, at = str(turned).partition("#")
    if name in pages:
        st.session_state[key] = name, at
        st.rerun()


def without_style(page: str) -> str:
    """Return a page without its link to a style sheet, which the frame gets otherwise (pure)."""
    return re.sub(r'<link rel="stylesheet"[^>]*>', "", page)
