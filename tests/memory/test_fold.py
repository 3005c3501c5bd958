"""Near-duplicates, and which text fits a question best."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from memory.fold import alike, first_alike, shape_of
from memory.query import parse, words_in
from memory.ranking import rank, rarest

LINE = "I went down to the river this morning and it was frozen over."


def test_texts_that_differ_in_a_word_or_in_their_dots_are_near_duplicates() -> None:
    shape = shape_of(LINE)
    assert alike(shape, shape_of(LINE.upper().replace(".", " !!")))
    assert alike(shape, shape_of(LINE.replace("morning", "evening")))
    assert not alike(shape, shape_of("I went up to the tower last night and it was burning."))
    assert not alike(shape_of("Hi"), shape_of("Ho"))
    assert alike(shape_of("Hi."), shape_of("hi!"))
    assert not alike(shape_of("..."), shape_of("???"))


@given(st.text(), st.text())
def test_likeness_goes_both_ways_and_everything_is_like_itself(one: str, other: str) -> None:
    assert alike(shape_of(one), shape_of(one))
    assert alike(shape_of(one), shape_of(other)) == alike(shape_of(other), shape_of(one))


def test_the_first_of_its_like_is_found() -> None:
    kept = [shape_of(text) for text in ("Hello there!", LINE, f"{LINE} Yes.")]
    assert first_alike(shape_of(f"{LINE} No."), kept) == 1
    assert first_alike(shape_of("Good night."), kept) is None


def test_short_texts_that_say_it_often_and_rare_words_fit_best() -> None:
    texts = ["a lamp in a room full of other things of no use", "lamp, lamp!", "the moon"]
    long, often, _ = rank(parse("lamp"), texts)
    assert often > long
    assert max(rank(parse("lamp OR moon"), texts)) == rank(parse("lamp OR moon"), texts)[2]
    assert rank(parse("lamp"), []) == []


@given(
    st.lists(st.text(alphabet="ab ", max_size=12), max_size=6),
    st.sampled_from(["a", "ab OR b", '"a b"', "a*"]),
)
def test_what_has_none_of_the_words_ranks_last(texts: list[str], typed: str) -> None:
    query = parse(typed)
    values = rank(query, texts)
    for text, value in zip(texts, values, strict=True):
        has = any(word.word.startswith(("a", "b")) for word in words_in(text))
        assert value >= 0
        assert has or value == 0


def test_the_rarest_words_are_those_that_others_do_not_say() -> None:
    others = ["the lamp is lit", "the moon is up", "the sea"] * 10
    assert rarest(["the", "is", "lantern", "heron"], others, 2) == ["lantern", "heron"]
    assert rarest(["the", "is"], others, 5) == ["is", "the"]
