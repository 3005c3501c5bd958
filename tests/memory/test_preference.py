"""From what people thought of samples to what can be learned from: the rules, for any opinions at all."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory.preference import (
    BARRED,
    HUMAN_SOURCES,
    SOURCES,
    Decided,
    Opinion,
    Pair,
    Sample,
    make_labels,
    make_pairs,
)
from memory.related import related

EMBER, ASH = "ember@base-000400", "ash@base-000400"


def sample(number: int, *, prompt: str = "p", age: str = EMBER, words: str | None = None) -> Sample:
    return Sample(number, prompt, age, f"words {number}" if words is None else words)


def samples(*some: Sample) -> dict[int, Sample]:
    return {one.id: one for one in some}


def vote(first: int, second: int, value: str = "first", *, blind: bool = True) -> Opinion:
    return Opinion("vote", first, second, value, blind, shown_first=first)


TWO = samples(sample(1), sample(2))


def test_a_blind_vote_makes_a_strong_pair() -> None:
    assert make_pairs([vote(1, 2)], TWO).pairs == [Pair(1, 2, "vote", "strong", 1, 0)]
    assert make_pairs([vote(1, 2, "second")], TWO).pairs == [Pair(2, 1, "vote", "strong", 1, 0)]


def test_a_vote_that_was_not_blind_makes_a_weak_pair() -> None:
    assert make_pairs([vote(1, 2, blind=False)], TWO).pairs[0].strength == "weak"
    assert make_pairs([vote(1, 2), vote(1, 2, blind=False)], TWO).pairs[0].strength == "weak"


def test_the_majority_counts_and_a_tie_says_nothing() -> None:
    assert make_pairs([vote(1, 2), vote(2, 1), vote(2, 1)], TWO).pairs == [Pair(2, 1, "vote", "strong", 2, 1)]
    tied = make_pairs([vote(1, 2), vote(2, 1)], TWO)
    assert tied.pairs == []
    assert tied.left_out == {"as many for the one as for the other": 1}


@pytest.mark.parametrize("value", ["both", "neither"])
def test_a_vote_for_both_or_neither_makes_no_pair(value: str) -> None:
    assert make_pairs([vote(1, 2, value)], TWO).pairs == []


def test_a_vote_that_says_nothing_known_makes_nothing() -> None:
    for value in (None, "up", "third"):
        said = [Opinion("vote", 1, 2, value, blind=True)]
        assert make_pairs(said, TWO) == make_labels(said, TWO) == Decided()


def test_a_vote_between_ages_makes_no_pair() -> None:
    decided = make_pairs([vote(1, 2)], samples(sample(1), sample(2, age=ASH)))
    assert decided.pairs == []
    assert decided.left_out == {"a vote between two ages, which rates them and makes no pair": 1}


def test_asking_again_prefers_what_was_kept_in_the_end() -> None:
    three = samples(*map(sample, (1, 2, 3)))
    asked = [Opinion("regenerated", 1, 2), Opinion("regenerated", 2, 3)]
    assert make_pairs(asked, three).pairs == [
        Pair(3, 1, "regenerated", "weak", 1, 0),
        Pair(3, 2, "regenerated", "weak", 1, 0),
    ]


def test_what_a_rule_chose_is_synthetic_and_only_there_when_asked_for() -> None:
    chosen = [Opinion("best_of", 1, 2)]
    assert make_pairs(chosen, TWO).pairs == []
    assert make_pairs(chosen, TWO, ["best_of"]).pairs == [Pair(1, 2, "best_of", "synthetic", 1, 0)]


def test_people_overrule_a_rule() -> None:
    both = [Opinion("best_of", 1, 2), vote(2, 1)]
    assert make_pairs(both, TWO, SOURCES).pairs == [Pair(2, 1, "vote", "strong", 1, 0)]
    tie = [Opinion("best_of", 1, 2), vote(2, 1, "both")]
    assert make_pairs(tie, TWO, SOURCES).pairs == []


@pytest.mark.parametrize("kind", BARRED)
def test_what_was_reported_or_deleted_is_never_used(kind: str) -> None:
    for bad in (1, 2):
        opinions = [vote(1, 2), Opinion("reaction", bad, value="up"), Opinion(kind, bad)]
        assert make_pairs(opinions, TWO, SOURCES).pairs == []
        assert all(label.sample != bad for label in make_labels(opinions, TWO, SOURCES).labels)


def test_a_sample_that_failed_makes_nothing() -> None:
    broken = samples(sample(1), sample(2, words=""))
    assert make_pairs([vote(1, 2)], broken).pairs == []


def test_twice_the_same_words_make_no_pair() -> None:
    assert make_pairs([vote(1, 2)], samples(sample(1, words="Hm."), sample(2, words="Hm."))).pairs == []


def test_reactions_make_weak_labels_and_silence_makes_none() -> None:
    opinions = [
        Opinion("reaction", 1, value="up"),
        Opinion("reaction", 1, value="up"),
        Opinion("reaction", 1, value="down"),
        Opinion("shown", 2),
    ]
    (label,) = make_labels(opinions, TWO).labels
    assert (label.sample, label.wanted, label.strength) == (1, True, "weak")
    assert (label.agreed, label.disagreed) == (2, 1)


def test_a_vote_labels_both_that_it_compared() -> None:
    def wanted(value: str) -> dict[int, bool]:
        return {label.sample: label.wanted for label in make_labels([vote(1, 2, value)], TWO).labels}

    assert wanted("first") == {1: True, 2: False}
    assert wanted("both") == {1: True, 2: True}
    assert wanted("neither") == {1: False, 2: False}


ids = st.integers(1, 8)
anything = st.builds(
    Opinion,
    st.sampled_from([*SOURCES, *BARRED, "shown", "something else"]),
    ids,
    st.none() | ids,
    st.none() | st.sampled_from(["first", "second", "both", "neither", "up", "down", "?"]),
    st.booleans(),
)
some_samples = st.lists(
    st.builds(
        Sample,
        ids,
        st.sampled_from("pq"),
        st.sampled_from((EMBER, ASH)),
        st.sampled_from(("", "a", "b", "c")),
    )
).map(lambda found: samples(*found))


@given(st.lists(anything, max_size=30), some_samples, st.sets(st.sampled_from(SOURCES)))
def test_the_rules_hold_for_any_opinions(
    opinions: list[Opinion], known: dict[int, Sample], sources: set[str]
) -> None:
    pairs = make_pairs(opinions, known, sources).pairs  # type: ignore[arg-type]
    barred = {opinion.generation_id for opinion in opinions if opinion.kind in BARRED}
    for pair in pairs:
        chosen, rejected = known[pair.chosen], known[pair.rejected]
        assert chosen.prompt == rejected.prompt
        assert chosen.age == rejected.age
        assert chosen.words
        assert rejected.words
        assert chosen.words != rejected.words
        assert pair.chosen not in barred
        assert pair.agreed > pair.disagreed
        assert pair.source in sources
        assert (pair.strength == "synthetic") == (pair.source == "best_of")
    between = [frozenset((pair.chosen, pair.rejected)) for pair in pairs]
    assert len(between) == len(set(between))
    labels = make_labels(opinions, known, sources).labels  # type: ignore[arg-type]
    assert len({label.sample for label in labels}) == len(labels)
    assert all(label.sample not in barred and label.source in sources for label in labels)


@given(st.lists(anything, max_size=20), some_samples, st.randoms())
def test_the_order_of_opinions_changes_nothing(
    opinions: list[Opinion], known: dict[int, Sample], shuffle: random.Random
) -> None:
    def made(some: Sequence[Opinion]) -> list[Decided]:
        return [make_pairs(some, known, SOURCES), make_labels(some, known, SOURCES)]

    shuffled = opinions.copy()
    shuffle.shuffle(shuffled)
    assert made(opinions) == made(shuffled)


@given(st.lists(anything, max_size=20), some_samples)
def test_what_a_rule_chose_changes_nothing_that_people_chose(
    opinions: list[Opinion], known: dict[int, Sample]
) -> None:
    by_people = make_pairs(opinions, known, HUMAN_SOURCES).pairs
    assert [p for p in make_pairs(opinions, known, SOURCES).pairs if p.source != "best_of"] == by_people


@given(st.lists(anything, max_size=30), some_samples, st.integers(1, 10))
def test_opinions_in_groups_come_to_the_same_as_all_at_once(
    opinions: list[Opinion], known: dict[int, Sample], at_once: int
) -> None:
    parts = list(related(opinions, at_once))
    assert sorted(map(repr, opinions)) == sorted(repr(one) for part in parts for one in part)
    about = [{i for one in part for i in (one.generation_id, one.other_id) if i} for part in parts]
    assert sum(map(len, about)) == len(set().union(*about))
    pairs = [pair for part in parts for pair in make_pairs(part, known, SOURCES).pairs]
    assert sorted(pairs) == make_pairs(opinions, known, SOURCES).pairs
    labels = [label for part in parts for label in make_labels(part, known, SOURCES).labels]
    assert sorted(labels) == make_labels(opinions, known, SOURCES).labels
