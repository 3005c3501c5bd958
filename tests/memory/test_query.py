"""What may be typed into a search: the same words to both databases and to our own reading of a text."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memory.index import Fact, to_fts5, to_tsquery
from memory.query import Query, Snippet, Term, marks, matches, parse, plain_words, snippet, words_in
from selves.errors import UsageError

WORDS = ["lamp", "Lamp", "lamps", "moon", "café", "CAFE", "Ωmega", "x1", "e-mail", "don't", "a@b.org"]
TEXTS = st.lists(st.sampled_from([*WORDS, ".", "…", "-", "OR", "/tmp/x", "1.5e3"]), max_size=8).map(" ".join)
TYPED = st.lists(
    st.sampled_from([*WORDS, '"moon lamp"', '"lamp', "-moon", '-"moon lamp"', "lam*", "OR", "NOT", "("]),
    min_size=1,
    max_size=6,
).map(" ".join)


@pytest.fixture(scope="module")
def fts5() -> Iterator[Callable[[str, str], bool]]:
    """Whether SQLite finds a text by an expression."""
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE VIRTUAL TABLE w USING fts5(text, facts, tokenize='unicode61 remove_diacritics 2')"
    )

    def found(text: str, expression: str) -> bool:
        connection.execute("DELETE FROM w")
        connection.execute("INSERT INTO w VALUES (?, 'a656d626572')", [text])
        return bool(connection.execute("SELECT 1 FROM w WHERE w MATCH ?", [expression]).fetchall())

    yield found
    connection.close()


@pytest.fixture(scope="module")
def tsquery(new_postgresql: Callable[[bool], str]) -> Iterator[Callable[[str, str], bool]]:
    """Whether PostgreSQL finds a text by an expression, with the function that its index is made of."""
    import psycopg

    connection = psycopg.connect(new_postgresql(True), autocommit=True)

    def found(text: str, expression: str) -> bool:
        (value,) = connection.execute(
            "SELECT selves_words(%s, 'ember', NULL, NULL, now()) @@ %s::tsquery", [text, expression]
        ).fetchone() or (False,)
        return bool(value)

    yield found
    connection.close()


def test_the_language_is_what_its_page_says() -> None:
    assert parse('lamp "old moon" -rain').groups == ((Term(("lamp",)),), (Term(("old", "moon")),))
    assert parse('lamp "old moon" -rain').excluded == (Term(("rain",)),)
    assert parse("lamp moon OR star*").groups == (
        (Term(("lamp",)),),
        (Term(("moon",)), Term(("star",), prefix=True)),
    )
    assert parse("OR lamp OR").groups == ((Term(("lamp",)),),)
    assert parse('"open quote').groups == ((Term(("open", "quote")),),)
    assert parse("Ember@base-000400") == Query(((Term(("ember", "base", "000400")),),))


@given(st.text())
def test_whatever_is_typed_is_a_query_or_a_plain_error(typed: str) -> None:
    try:
        query = parse(typed)
    except UsageError:
        return
    assert query.groups


@given(typed=st.text(max_size=30) | TYPED)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_whatever_is_typed_is_no_error_of_sqlite(typed: str, fts5: Callable[[str, str], bool]) -> None:
    try:
        query = parse(typed)
    except UsageError:
        return
    fts5("some text", to_fts5(query, [[Fact("a", typed)]]))


@pytest.mark.postgres
@given(typed=st.text(max_size=30) | TYPED)
@settings(deadline=None)
def test_whatever_is_typed_is_no_error_of_postgresql(typed: str, tsquery: Callable[[str, str], bool]) -> None:
    try:
        query = parse(typed)
    except UsageError:
        return
    tsquery("some text", to_tsquery(query, [[Fact("s", typed)]]))


@given(text=TEXTS, typed=TYPED)
@settings(deadline=None)
def test_sqlite_finds_what_our_own_reading_finds(
    text: str, typed: str, fts5: Callable[[str, str], bool]
) -> None:
    try:
        query = parse(typed)
    except UsageError:
        return
    assert fts5(text, to_fts5(query, [])) == matches(query, plain_words(text))
    assert fts5(text, to_fts5(query, [[Fact("a", "ember")]])) == matches(query, plain_words(text))
    assert not fts5(text, to_fts5(query, [[Fact("a", "ash")]]))


@pytest.mark.postgres
@given(text=TEXTS, typed=TYPED)
@settings(deadline=None)
def test_postgresql_finds_what_our_own_reading_finds(
    text: str, typed: str, tsquery: Callable[[str, str], bool]
) -> None:
    try:
        query = parse(typed)
    except UsageError:
        return
    assert tsquery(text, to_tsquery(query, [])) == matches(query, plain_words(text))
    assert tsquery(text, to_tsquery(query, [[Fact("a", "ember")]])) == matches(query, plain_words(text))
    assert not tsquery(text, to_tsquery(query, [[Fact("a", "ash")]]))


@given(TEXTS | st.text() | st.text(alphabet=st.characters(max_codepoint=127)))
def test_both_readings_of_a_text_have_the_same_words(text: str) -> None:
    assert plain_words(text) == [word.word for word in words_in(text)]


@pytest.mark.parametrize("typed", ["", "   ", "-lamp", "!?", "OR", '""', "*", " ".join(["lamp"] * 65)])
def test_what_cannot_be_looked_for_is_said(typed: str) -> None:
    with pytest.raises(UsageError, match="word"):
        parse(typed)


@pytest.mark.postgres
@pytest.mark.parametrize(
    "word",
    [
        "Привет",
        "ёлка",
        "ΆΓΓΕΛΟΣ",
        "日本語",
        "한국어",
        "العربية",
        "Ångström",
        "Łódź",
        "e\u0301te\u0301",
        "за\u0301мок",
        "हिन्दी",
        "ไม้",
    ],
)
def test_words_of_many_languages_are_found_in_either_case(
    word: str, fts5: Callable[[str, str], bool], tsquery: Callable[[str, str], bool]
) -> None:
    query = parse(word)
    for text in (word, word.upper(), word.lower()):
        assert matches(query, plain_words(text))
        assert fts5(text, to_fts5(query, []))
        assert tsquery(text, to_tsquery(query, []))


def test_a_word_that_no_index_holds_whole_is_looked_for_by_its_beginning() -> None:
    (group,) = parse("x" * 3000).groups
    assert group == (Term(("x" * 255,), prefix=True),)


def test_a_snippet_shows_where_the_words_stand() -> None:
    text = "It was night. " * 20 + "Then the old lamp was lit by somebody. " + "And so on. " * 20
    query = parse('"old lamp" lit')
    shown = snippet(text, marks(query, words_in(text)), 80)
    assert [shown.text[start:end] for start, end in shown.marks] == ["old lamp", "lit"]
    assert shown.text.startswith("…")
    assert shown.text.endswith("…")
    assert len(shown.text) <= 82


@given(text=st.text(max_size=400), width=st.integers(20, 100), data=st.data())
def test_the_marks_of_a_snippet_are_the_words_of_its_text(text: str, width: int, data: st.DataObject) -> None:
    words = words_in(text)
    found = [(w.start, w.end) for w in words if data.draw(st.booleans())] if len(words) < 20 else []
    shown = snippet(text, found, width)
    assert isinstance(shown, Snippet)
    assert len(shown.text) <= max(width, 0) + 2
    originals = [text[start:end] for start, end in found]
    assert all(shown.text[start:end] in originals for start, end in shown.marks)
    if found and found[0][1] - found[0][0] < width // 3:
        assert shown.text[slice(*shown.marks[0])] == originals[0]
