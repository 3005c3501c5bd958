"""How ages compare by votes, and which texts are nearly the same."""

from __future__ import annotations

import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from memory.likeness import Seen, split_of
from memory.preference import Opinion
from memory.ratings import Contest, bradley_terry, contests, shown_first_won

some_contests = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"), st.sampled_from((0.0, 0.5, 1.0)))
    .filter(lambda c: c[0] != c[1])
    .map(lambda c: Contest(*c)),
    max_size=30,
)


def test_who_wins_more_is_rated_higher() -> None:
    votes = [Contest("old", "young", 1.0)] * 9 + [Contest("young", "old", 1.0)]
    old, young = bradley_terry(votes)
    assert (old.age, young.age) == ("old", "young")
    assert old.points > old.low > 0 > young.high > young.points
    assert (old.votes, old.won) == (10, 9)


def test_known_odds_come_back() -> None:
    votes = [Contest("a", "b", 1.0)] * 7500 + [Contest("a", "b", 0.0)] * 2500
    a, b = bradley_terry(votes)
    assert abs((a.points - b.points) - 400 * math.log10(3)) < 1


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = random.Random(1)
    truth = {"a": 150.0, "b": 50.0, "c": -50.0, "d": -150.0}
    held = 0
    for _ in range(50):
        played = []
        for _ in range(200):
            first, second = rng.sample("abcd", 2)
            chance = 1 / (1 + 10 ** ((truth[second] - truth[first]) / 400))
            played.append(Contest(first, second, float(rng.random() < chance)))
        held += sum(r.low <= truth[r.age] <= r.high for r in bradley_terry(played))
    assert 0.9 <= held / 200 <= 1


def test_more_votes_make_an_interval_narrower() -> None:
    few = bradley_terry([Contest("a", "b", 1.0), Contest("a", "b", 0.0)])[0]
    many = bradley_terry([Contest("a", "b", 1.0), Contest("a", "b", 0.0)] * 50)[0]
    assert many.high - many.low < few.high - few.low


def test_without_votes_there_are_no_ratings() -> None:
    assert bradley_terry([]) == []


@given(some_contests)
@settings(deadline=None)
def test_ratings_are_finite_and_average_to_nothing(votes: list[Contest]) -> None:
    ratings = bradley_terry(votes)
    assert all(math.isfinite(r.points) and r.low < r.points < r.high for r in ratings)
    assert abs(sum(r.points for r in ratings)) < 1e-6
    assert sum(r.votes for r in ratings) == 2 * len(votes)


@given(some_contests)
@settings(deadline=None)
def test_turning_every_vote_round_turns_the_ratings_round(votes: list[Contest]) -> None:
    turned = [vote._replace(first_won=1 - vote.first_won) for vote in votes]
    points = {r.age: r.points for r in bradley_terry(votes)}
    assert all(abs(r.points + points[r.age]) < 1e-6 for r in bradley_terry(turned))


@given(some_contests, st.randoms())
@settings(deadline=None)
def test_the_order_of_votes_changes_no_rating(votes: list[Contest], shuffle: random.Random) -> None:
    shuffled = [Contest(v.second, v.first, 1 - v.first_won) for v in votes]
    shuffle.shuffle(shuffled)
    points = {r.age: r.points for r in bradley_terry(votes)}
    assert all(abs(r.points - points[r.age]) < 1e-6 for r in bradley_terry(shuffled))


def test_only_votes_between_ages_rate_them() -> None:
    ages = {1: "old", 2: "young", 3: "old"}
    votes = [
        Opinion("vote", 1, 2, "second", blind=True),
        Opinion("vote", 1, 3, "first", blind=True),
        Opinion("vote", 2, 3, "neither", blind=True),
        Opinion("reaction", 1, None, "up"),
    ]
    assert contests(votes, ages) == [Contest("old", "young", 0.0), Contest("young", "old", 0.5)]


def test_how_often_the_first_shown_won_is_counted() -> None:
    votes = [
        Opinion("vote", 1, 2, "first", shown_first=1),
        Opinion("vote", 1, 2, "first", shown_first=2),
        Opinion("vote", 1, 2, "second", shown_first=2),
        Opinion("vote", 1, 2, "both", shown_first=2),
    ]
    assert shown_first_won(votes) == (2, 3)


@given(st.text(), st.floats(0, 1))
def test_a_scene_stays_on_its_side_when_the_test_share_grows(group: str, share: float) -> None:
    if split_of(group, share) == "test":
        assert split_of(group, min(1.0, share * 1.5)) == "test"
    assert split_of(group, 0.0) == "train"


def test_the_test_share_is_about_what_was_asked_for() -> None:
    sides = [split_of(f"scene {number}", 0.2) for number in range(2000)]
    assert 0.17 < sides.count("test") / 2000 < 0.23


def test_nearly_the_same_texts_are_found_and_others_are_not() -> None:
    rng = random.Random(3)
    words = [f"word{number}" for number in range(2000)]
    found = missed = 0
    for _ in range(100):
        text = rng.choices(words, k=200)
        changed = [*text[:150], "surely", *text[151:]]
        seen = Seen([" ".join(text)])
        found += seen.has_like(" ".join(changed))
        missed += not seen.has_like(" ".join(rng.choices(words, k=200)))
    assert found >= 90
    assert missed == 100


@given(st.text())
def test_a_text_is_like_itself_whatever_its_spaces_and_case(text: str) -> None:
    assert Seen([text]).has_like(f" {text}\n")


def test_short_texts_are_alike_only_with_the_same_words() -> None:
    assert Seen(["Hello, you there!"]).has_like("hello you there")
    assert not Seen(["Hello, you there!"]).has_like("hello you here")
