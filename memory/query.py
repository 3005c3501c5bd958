"""What may be typed into a search, and what it means to either database (pure).

    lamp moon          both words
    "the old lamp"     these words in this order
    lamp OR moon       either; OR binds its two neighbours
    -lamp -"old lamp"  not these
    lan*               words that begin so

Words are compared in small letters and without the accents on a to z, and a word is letters and digits only:
`words_in` cuts a text into them as the indices of both databases do. Whatever is typed becomes a query or
none (UsageError); it is never an error of a database.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from selves.errors import UsageError

WORD_CHARACTERS = 255
"""Longer words are looked for by so many of their first characters; PostgreSQL's index has no longer ones."""
MOST_TERMS = 64

_WORD = re.compile(r"[^\W_](?:[^\W_]|[\u0300-\u036f])*")
_ASCII_WORD = re.compile(r"[a-z0-9]+")
_PIECE = re.compile(r'(-?)"([^"]*)"?(\*?)|(-?)(\S+)')
_ASCII_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")


class Word(NamedTuple):
    """A word of a text, as it is compared, and where it stands."""

    word: str
    start: int
    end: int


class Term(NamedTuple):
    """Words in a row; with `prefix` the last of them may go on."""

    words: tuple[str, ...]
    prefix: bool = False

    @property
    def single(self) -> bool:
        """Whether it is one word."""
        return len(self.words) == 1 and not self.prefix


class Query(NamedTuple):
    """One term of each group must be there, and none of `excluded`."""

    groups: tuple[tuple[Term, ...], ...]
    excluded: tuple[Term, ...] = ()


def words_in(text: str) -> list[Word]:
    """Return the words of a text in order."""
    return [Word(plain(found[0]), found.start(), found.end()) for found in _WORD.finditer(text)]


def plain_words(text: str) -> list[str]:
    """Return the words of a text in order, as they are compared; faster than `words_in`."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return [word.word for word in words_in(text)]


def plain(word: str) -> str:
    """Return a word as it is compared: in small letters, without the accents on a to z."""
    if word.isascii():
        return word.lower()
    # the sigma at the end of a word is one, too
    small = unicodedata.normalize("NFC", word.lower()).replace("ς", "σ")
    return "".join(map(_without_accent, small))


def _without_accent(letter: str) -> str:
    first = unicodedata.normalize("NFD", letter)[0]
    if first in _ASCII_LETTERS:
        return first
    return "" if "\u0300" <= letter <= "\u036f" else letter


def parse(typed: str) -> Query:
    """Read what was typed. Raises UsageError when there is nothing to look for in it, or too much."""
    groups: list[list[Term]] = []
    excluded: list[Term] = []
    joined = False
    for minus, term in _pieces(typed):
        if term is None:
            joined = bool(groups)
        elif minus:
            excluded.append(term)
        elif joined:
            groups[-1].append(term)
            joined = False
        else:
            groups.append([term])
    if not groups:
        raise UsageError(
            f"there is no word to look for in {typed!r}",
            'give at least one: words, "words in a row", prefix*, this OR that, -without',
        )
    if sum(map(len, groups)) + len(excluded) > MOST_TERMS:
        raise UsageError(f"that is more than {MOST_TERMS} words to look for at once", "leave some out")
    return Query(tuple(map(tuple, groups)), tuple(excluded))


def _pieces(typed: str) -> Iterator[tuple[bool, Term | None]]:
    """Yield whether each term is excluded, and the term; None for OR."""
    for found in _PIECE.finditer(typed):
        bare_minus, bare = found[4], found[5]
        if bare == "OR" and not bare_minus:
            yield False, None
            continue
        content, star = (found[2], found[3]) if bare is None else (bare.rstrip("*"), bare[-1:] == "*")
        words = tuple(word.word for word in words_in(content) if word.word)
        if words:
            too_long = len(words[-1]) > WORD_CHARACTERS
            yield bool(found[1] or bare_minus), Term(_cut(words), bool(star) or too_long)


def _cut(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(word[:WORD_CHARACTERS] for word in words)


def any_of(words: Sequence[str]) -> Query:
    """Return the query for texts that have at least one of these words, which `words_in` gave."""
    return Query((tuple(Term((word,)) for word in _cut(words)),))


def matches(query: Query, words: Sequence[str]) -> bool:
    """Whether a text with these words, as `plain_words` gives them, is one that was asked for."""

    def has(term: Term) -> bool:
        return term.words[0] in words if term.single else next(_places(term, words), None) is not None

    return all(any(map(has, group)) for group in query.groups) and not any(map(has, query.excluded))


def marks(query: Query, words: Sequence[Word]) -> list[tuple[int, int]]:
    """Return where in a text with these words what was asked for stands, from start to end, in order."""
    terms = {term for group in query.groups for term in group}
    bare = [word.word for word in words]
    found = {(words[i].start, words[i + len(t.words) - 1].end) for t in terms for i in _places(t, bare)}
    return sorted(found)


def how_often(term: Term, words: Sequence[str]) -> int:
    """Return how often a term stands in a text with these words."""
    return words.count(term.words[0]) if term.single else sum(1 for _ in _places(term, words))


def _places(term: Term, words: Sequence[str]) -> Iterator[int]:
    *before, last = term.words
    for i in range(len(words) - len(before)):
        word = words[i + len(before)]
        ends = word == last or (term.prefix and word.startswith(last))
        if ends and all(words[i + n] == one for n, one in enumerate(before)):
            yield i


@dataclass(frozen=True, slots=True)
class Snippet:
    """The part of a text that shows why it was found."""

    text: str
    marks: tuple[tuple[int, int], ...]
    """Where in it the words stand that were looked for."""


def snippet(text: str, found: Sequence[tuple[int, int]], characters: int = 160) -> Snippet:
    """Return about so many characters of a text, around the first of `found`; `…` is what is left out."""
    first = found[0][0] if found else 0
    start = max(0, min(first - characters // 3, len(text) - characters))
    # not in the middle of a word, unless the word is very long
    if start and (space := text.find(" ", start, min(start + 20, first))) >= 0:
        start = space + 1
    end = min(len(text), start + characters)
    if end < len(text) and (space := text.rfind(" ", max(start, end - 20), end)) > first:
        end = space
    before = "…" if start else ""
    shift = len(before) - start
    inside = tuple((a + shift, b + shift) for a, b in found if start <= a and b <= end)
    return Snippet(before + text[start:end] + ("…" if end < len(text) else ""), inside)
