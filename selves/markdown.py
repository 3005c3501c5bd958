"""What a self wrote, as Markdown that renders as itself: never markup, whatever is in it.

For cards on the Hub. Every mark that can mean something is escaped, spaces that Markdown would swallow are
entities, lines end where they ended, and characters that cannot be seen stand named, as `\\x1b`.
"""

from __future__ import annotations

import json
import re
import string
import unicodedata
from collections.abc import Mapping

_JOINERS = "\u200c\u200d"
"""Unseen on their own, but letters and emoji of many languages need them."""


def shown(text: str) -> str:
    r"""Return a text with what cannot be seen written out: `\x1b`, `\u202e`."""
    return "".join(_shown(letter) for letter in text.replace("\r\n", "\n"))


def _shown(letter: str) -> str:
    if letter in "\n\t" or letter in _JOINERS:
        return letter
    if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp", "Cn"):
        return letter.encode("unicode_escape").decode("ascii")
    return letter


def inline(text: str) -> str:
    """Return a text on one line, as Markdown, fit for a table cell too."""
    return _escaped(" ".join(shown(text).split()))


def block(text: str, *, limit: int | None = None) -> str:
    """Return a text as a block quote; after `limit` characters it is cut, and says so."""
    cut = text if limit is None or len(text) <= limit else text[:limit]
    if not cut.strip():
        return "> *(nothing)*"
    lines = [_line(line) for line in shown(cut.strip("\n")).split("\n")]
    quoted = "\\\n".join(f"> {line}" for line in lines)
    left = len(text) - len(cut)
    return quoted + (f"\n>\n> *({left:,} more characters)*" if left else "")


def front_matter(facts: Mapping[str, object]) -> str:
    """Return the YAML head of a card; what is empty is left out. JSON is YAML, and knows how to quote."""
    said = {key: value for key, value in facts.items() if value not in (None, "", [], ())}
    lines = [f"{key}: {json.dumps(_plain(value), ensure_ascii=False)}" for key, value in said.items()]
    return "\n".join(["---", *lines, "---"])


def _plain(value: object) -> object:
    if isinstance(value, str):
        return shown(value)
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _line(line: str) -> str:
    """Keep every space of a line: Markdown eats those at its ends, and readers all but one between words."""
    line = _escaped(line.expandtabs(4)) or " "
    return re.sub(
        r"^\s+|\s+$|(?<=\s)\s+",
        lambda found: "".join("&nbsp;" if c == " " else f"&#{ord(c)};" for c in found[0]),
        line,
    )


def _escaped(text: str) -> str:
    return "".join(_PUNCTUATION.get(letter, letter) for letter in text)


_HARMLESS = ",;'\"?%/"
_PUNCTUATION = {mark: f"\\{mark}" for mark in string.punctuation if mark not in _HARMLESS}
_PUNCTUATION |= {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
