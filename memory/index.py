"""How the indices over words are asked, on either database (pure).

Beside the words of a text they hold a few facts about it as words of their own, so that a filter costs no
more than another word: which age and lineage, who spoke, which kind of sample or
origin of a line, which month and year. What
they hold, and for which rows, is written in `migrations/versions/0002_remembering.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from memory.columns import escape
from memory.query import Query, Term

SPEAKER_CHARACTERS = 200
"""As much of a speaker's name as PostgreSQL's index holds."""
FIRST_YEAR = 1990


class Fact(NamedTuple):
    """Something that the index knows of a text: `a` its age, `l` its lineage, `s` its speaker, `k` a
    sample's kind or a line's origin, `m` its month, `y` its year."""

    letter: Literal["a", "l", "s", "k", "m", "y"]
    value: str


Facts = Sequence[Sequence[Fact]]
"""One of each group must be true."""


def months(since: datetime | None, until: datetime | None, now: datetime) -> list[Fact]:
    """Return the whole years, and in the first and last year the months, that a span of time touches.

    Without `since` it begins in 1990 (nothing that talked in a chat is older), without `until` it ends a year
    from now; with neither there is nothing to say.
    """
    if since is None and until is None:
        return []
    first = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC) if since is None else since.astimezone(UTC)
    last = now.replace(year=now.year + 1, month=1, day=1) if until is None else until.astimezone(UTC)
    facts: list[Fact] = []
    for year in range(max(first.year, FIRST_YEAR), last.year + 1):
        begins = first.month if year == first.year else 1
        ends = last.month if year == last.year else 12
        if (begins, ends) == (1, 12):
            facts.append(Fact("y", f"{year}"))
        else:
            facts += [Fact("m", f"{year}{month:02}") for month in range(begins, ends + 1)]
    return facts


def to_fts5(query: Query | None, facts: Facts) -> str:
    """Return what SQLite's FTS5 is asked for. There must be a query or facts."""

    def term(one: Term) -> str:
        return f'"{" ".join(one.words)}"' + ("*" if one.prefix else "")

    def either(terms: Sequence[Term]) -> str:
        return f"({' OR '.join(map(term, terms))})"

    parts: list[str] = []
    if query is not None:
        wanted = " AND ".join(map(either, query.groups))
        parts.append(f"{{text}}: ({wanted})")
    for group in facts:
        words = " OR ".join(f"{fact.letter}{escape(fact.value).encode().hex()}" for fact in group)
        # months and years are digits already
        if group[0].letter in "my":
            words = " OR ".join(f"{fact.letter}{fact.value}" for fact in group)
        parts.append(f"{{facts}}: ({words})")
    asked = " AND ".join(parts)
    if query is not None and query.excluded:
        return f"({asked}) NOT {{text}}: {either(query.excluded)}"
    return asked


def to_tsquery(query: Query | None, facts: Facts) -> str:
    """Return what PostgreSQL is asked for. There must be a query or facts."""

    def term(one: Term) -> str:
        words = [f"'{word}'" for word in one.words]
        return f"({' <-> '.join(words)}{':*' if one.prefix else ''})"

    def either(parts: Sequence[str]) -> str:
        return f"({' | '.join(parts)})"

    parts = [either(list(map(term, group))) for group in (query.groups if query else ())]
    parts += [either(list(map(_lexeme, group))) for group in facts]
    if query is not None and query.excluded:
        parts.append(f"!{either(list(map(term, query.excluded)))}")
    return " & ".join(parts)


def _lexeme(fact: Fact) -> str:
    value = escape(fact.value)[: SPEAKER_CHARACTERS if fact.letter == "s" else None]
    quoted = value.replace("\\", "\\\\").replace("'", "''")
    return f"'@{fact.letter}{quoted}'"
