"""What a self wrote, as HTML that shows it as itself: never markup, no harm to the page around it.

Young selves write every character there is. Those that cannot be seen are written out: a control character as
`\\x1b`, a right-to-left override by its name. Everything else stays as it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from markupsafe import Markup, escape

from selves.speech import Prompt

_UNSEEN = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and line feed
    "\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # formats, bidi
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff\U000e0000-\U000e007f"  # surrogates, non-characters, tags
    "]"
)


class Piece(NamedTuple):
    """A stretch of text to show as it is, or one unseen character written out."""

    text: str
    unseen: bool


def pieces(text: str) -> Iterator[Piece]:
    """Cut a text into what can be seen and what must be written out. Carriage returns become line ends."""
    text = text.replace("\r\n", "\n")
    end = 0
    for match in _UNSEEN.finditer(text):
        if match.start() > end:
            yield Piece(text[end : match.start()], unseen=False)
        yield Piece(name_unseen(match[0]), unseen=True)
        end = match.end()
    if end < len(text):
        yield Piece(text[end:], unseen=False)


def name_unseen(letter: str) -> str:
    r"""Return a name for a character that cannot be seen: `right-to-left override`, or else `\x1b`."""
    name = unicodedata.name(letter, "").lower()
    if name and unicodedata.category(letter) in ("Cf", "Zl", "Zp"):
        return name
    return letter.encode("unicode_escape").decode("ascii")


def passage(text: str) -> Markup:
    """Return a text as safe HTML; characters that cannot be seen stand named in `<span class="unseen">`."""
    return Markup("").join(
        Markup('<span class="unseen">{}</span>').format(piece.text) if piece.unseen else escape(piece.text)
        for piece in pieces(text)
    )


def said_to(prompt: Prompt) -> str:
    """Return what a self was given, in words: the text to continue, or the newest message to it."""
    if prompt.form == "transcript":
        return prompt.text
    return prompt.messages[-1].content if prompt.messages else ""


Runs = tuple[str, ...]
"""A text as it is printed: even entries are letters as they are, odd ones names of what cannot be seen."""


def runs(text: str) -> Runs:
    """Cut a text into letters and names of unseen characters, by turns; it begins and ends with letters."""
    found = [""]
    for piece in pieces(text):
        if piece.unseen:
            found += [piece.text, ""]
        else:
            found[-1] += piece.text
    return tuple(found)


def plain(text: Runs) -> str:
    """Return a text with its unseen characters named in between, as a reader of paper would type it."""
    return "".join(text)


def html_runs(text: Runs) -> Markup:
    """Return a text as safe HTML or XHTML, like `passage`."""
    return Markup("").join(
        Markup('<span class="unseen">{}</span>').format(run) if number % 2 else escape(run)
        for number, run in enumerate(text)
        if run
    )
