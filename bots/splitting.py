"""Cutting a long text into messages that Discord takes, where a person would cut it. Pure.

Lengths count as Discord counts them: UTF-16 code units, so an emoji is two and a family of them eleven.
"""

from __future__ import annotations

import re
import unicodedata

LIMIT = 2000
"""Characters in a message."""
FENCE = "```"
NOTHING = "…"
"""Stands for a text that cannot be posted, because there is nothing in it."""
_WHOLE = re.compile(r"<(?:@[!&]?|#|a?:\w{1,32}:|/[\w -]{1,32}:|t:)-?\d{1,20}(?::[tTdDfFR])?>|https?://\S+")
"""What means nothing when it is cut: mentions, emoji of a server, moments, addresses."""
_JOINER, _VARIANTS, _SKINS = "\u200d", "\ufe00\ufe0f", "\U0001f3fb\U0001f3ff"


def split(text: str, limit: int = LIMIT) -> list[str]:
    """Cut a text into parts of at most `limit`: between paragraphs, else lines, sentences, words, letters.

    A code block that is cut is closed, and opened again in the same language. Mentions, addresses, and
    letters that are made of several stay whole where they fit at all. Lone surrogates, which cannot be sent,
    are replaced.
    """
    rest = text.encode("utf-8", "replace").decode().strip() or NOTHING
    parts: list[str] = []
    opening = ""
    while length(opening + rest) > limit:
        room = limit - length(opening)
        # what closes the block takes room only if a block is open there
        cut = _cut(rest, room)
        if _open_fence(opening + rest[:cut]):
            cut = _cut(rest, room - length(f"\n{FENCE}"))
        head = (opening + rest[:cut]).rstrip()
        fence = _open_fence(head)
        if head.strip() and head.strip() != opening.strip():
            parts.append(f"{head}\n{FENCE}" if fence else head)
        rest = rest[cut:].lstrip(" \n") if not fence else rest[cut:].removeprefix("\n")
        opening = f"{fence}\n" if fence else ""
        if fence and rest.strip() == FENCE:
            return parts
        if fence and rest.startswith(FENCE):
            rest, opening = rest.removeprefix(FENCE).lstrip(" \n"), ""
        if not rest.strip():
            return parts
    return [*parts, opening + rest]


def length(text: str) -> int:
    """Return how long Discord says a text is: what is beyond the basic plane counts twice."""
    return len(text) + sum(letter > "\uffff" for letter in text)


def _cut(text: str, room: int) -> int:
    """Return where to cut so that what is before fits: always after something, however little room."""
    most = _fitting(text, room)
    if most >= len(text):
        return len(text)
    whole = [match.span() for match in _WHOLE.finditer(text, 0, min(len(text), most + 300))]
    for pattern in (r"\n\n+", r"\n", r"(?<=[.!?…])\s", r"\s"):
        ends = [match.end() for match in re.finditer(pattern, text[: most + 1])]
        good = [
            end
            for end in ends
            if _trimmed(text, end) <= most and end > most // 2 and not any(a < end < b for a, b in whole)
        ]
        if good:
            return good[-1]
    cut = next((a for a, b in whole if 0 < a < most < b), most)
    while cut > 1 and _holds_together(text, cut):
        cut -= 1
    return cut if cut > 1 or not _holds_together(text, most) else max(1, most)


def _fitting(text: str, room: int) -> int:
    """How many letters of a text fit into so many code units; at least one."""
    for index, letter in enumerate(text):
        room -= 1 + (letter > "\uffff")
        if room < 0:
            return max(1, index)
    return len(text)


def _trimmed(text: str, end: int) -> int:
    """Where the words before `end` end: the space after them need not fit."""
    return len(text[:end].rstrip())


def _holds_together(text: str, cut: int) -> bool:
    """Whether a cut here would part a letter from its accent, or the members of an emoji."""
    if cut >= len(text):
        return False
    before, after = text[cut - 1], text[cut]
    return (
        before == _JOINER
        or after == _JOINER
        or unicodedata.combining(after) > 0
        or _VARIANTS[0] <= after <= _VARIANTS[1]
        or _SKINS[0] <= after <= _SKINS[1]
    )


def _open_fence(text: str) -> str:
    """Return the beginning of the code block that is open at the end of a text, with its language, or ""."""
    fence = ""
    for match in re.finditer(r"```([\w+#.-]{0,20}(?=\n))?", text):
        fence = "" if fence else f"{FENCE}{match[1] or ''}"
    return fence
