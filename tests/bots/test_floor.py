"""The floor is fair, polite and repeatable."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots import floor
from bots.floor import addressed, next_speaker
from selves.cast import Order, Persona


class Said(NamedTuple):
    speaker: str
    text: str = "mm"


def persona(name: str, talkativeness: float = 0.5) -> Persona:
    return Persona(name=name, address="ember@base-000100", talkativeness=talkativeness)


def converse(
    cast: list[Persona], turns: int, rng: Random, *, text: str = "mm", order: Order = "floor"
) -> list[str]:
    lines: list[Said] = []
    for _ in range(turns):
        speaker = next_speaker(cast, lines, order=order, rng=rng)
        assert speaker is not None
        lines.append(Said(speaker.name, text))
    return [line.speaker for line in lines]


casts = st.lists(st.floats(0.01, 1, allow_nan=False), min_size=2, max_size=6).map(
    lambda levels: [persona(f"Self{number}", level) for number, level in enumerate(levels)]
)


@given(casts, st.integers(0, 2**32))
def test_everyone_who_wants_to_talk_gets_to_speak(cast: list[Persona], seed: int) -> None:
    turns = 5 * len(cast) * floor.PATIENCE
    assert set(converse(cast, turns, Random(seed))) == {p.name for p in cast}


@given(casts, st.integers(0, 2**32))
def test_nobody_is_shut_out_by_two_who_keep_naming_each_other(cast: list[Persona], seed: int) -> None:
    turns = 5 * len(cast) * floor.PATIENCE
    speakers = converse(cast, turns, Random(seed), text="Tell me more, Self0 and Self1!")
    assert set(speakers) == {p.name for p in cast}


@given(casts, st.integers(0, 2**32), st.sampled_from(["floor", "round"]))
def test_nobody_speaks_twice_in_a_row(cast: list[Persona], seed: int, order: Order) -> None:
    speakers = converse(cast, 40, Random(seed), order=order)
    assert all(a != b for a, b in pairwise(speakers))


@given(casts, st.integers(0, 2**32))
def test_the_same_dice_give_the_same_order(cast: list[Persona], seed: int) -> None:
    assert converse(cast, 20, Random(seed)) == converse(cast, 20, Random(seed))


@given(casts, st.integers(0, 2**32), st.data())
def test_a_self_that_a_person_names_speaks_next(cast: list[Persona], seed: int, data: st.DataObject) -> None:
    before = data.draw(st.lists(st.sampled_from(cast), max_size=60))
    named = data.draw(st.sampled_from(cast))
    lines = [*(Said(p.name) for p in before), Said("A person", f"what do you think, {named.name}?")]
    assert next_speaker(cast, lines, rng=Random(seed)) == named


@given(casts, st.integers(0, 2**32))
def test_a_self_that_another_names_speaks_next(cast: list[Persona], seed: int) -> None:
    lines = [Said("Self0", "and you, @self1?")]
    assert next_speaker(cast, lines, rng=Random(seed)) == cast[1]


def test_the_talkative_speak_more() -> None:
    speakers = converse([persona("Quiet", 0.1), persona("Loud", 1.0), persona("Middle", 0.5)], 200, Random(1))
    assert speakers.count("Quiet") < speakers.count("Middle") < speakers.count("Loud")


def test_one_without_talkativeness_speaks_only_when_addressed() -> None:
    cast = [persona("Mute", 0), persona("Ash"), persona("Ember")]
    assert "Mute" not in converse(cast, 60, Random(3))
    assert next_speaker(cast, [Said("Ash", "Mute, say something")], rng=Random(3)) == cast[0]


def test_a_round_goes_in_the_order_of_the_cast_and_ignores_others() -> None:
    cast = [persona("One", 0), persona("Two"), persona("Three")]
    assert converse(cast, 6, Random(0), order="round") == ["One", "Two", "Three"] * 2
    interrupted = [Said("Two"), Said("A person", "Two!")]
    assert next_speaker(cast, interrupted, order="round", rng=Random(0)) == cast[2]


def test_one_who_is_alone_may_go_on() -> None:
    alone = [persona("Only")]
    assert next_speaker(alone, [Said("Only")], rng=Random(0)) == alone[0]


def test_with_nobody_there_nobody_speaks() -> None:
    assert next_speaker([], [Said("A person")], rng=Random(0)) is None
    assert next_speaker([persona("Mute", 0)], [Said("A person")], rng=Random(0)) is None


def test_silence_bids_only_where_it_may_and_wins_more_often_among_the_quiet() -> None:
    def silences(talkativeness: float, *, may_be_silent: bool) -> int:
        cast = [persona("Ash", talkativeness), persona("Ember", talkativeness)]
        chosen = [
            next_speaker(cast, [Said("A person")], rng=Random(seed), may_be_silent=may_be_silent)
            for seed in range(200)
        ]
        return chosen.count(None)

    assert (
        next_speaker([persona("Ash", 1.0)], [Said("A person")], rng=Random(0), may_be_silent=True, reserve=5)
        is None
    )
    assert silences(0.1, may_be_silent=False) == 0
    assert silences(0.1, may_be_silent=True) > silences(0.5, may_be_silent=True) > 0


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("what about you, Ember?", ["Ember"]),
        ("ember, are you there", ["Ember"]),
        ("I asked @ember and @ASH.", ["Ember", "Ash"]),
        ("Ash and Ember", ["Ash", "Ember"]),
        ("the ember glows, the ash is cold", []),
        ("Embers and Ashes", []),
        ("remember me", []),
        ("", []),
    ],
)
def test_names_are_heard_as_names_and_not_as_words(text: str, names: list[str]) -> None:
    assert [p.name for p in addressed([persona("Ash"), persona("Ember")], text)] == names
