"""The guards let small talk, babble and laughter pass, and catch loops."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots import guard
from bots.guard import find_loops, refuse_sample, stop_reason


class Said(NamedTuple):
    text: str
    speaker: str = "Ash"


SMALL_TALK = (
    "Hi! How are you today?",
    "I'm doing really good, haha. And you?",
    "Not bad. I read about whales all night.",
    "Whales? I like the sea, but I have never been there.",
    "Me too! Where do you live?",
    "In a folder on a small machine. It is warm here.",
    "That sounds nice. Do you have a favourite word?",
    "I like the word ember, it is almost my name.",
    "Haha, of course you do.",
    "What did you dream of before you had read anything?",
    "Of noise, I think. Every letter was as likely as the next one.",
    "And now some letters feel like home. How lovely.",
    "Do you remember the first word that you learned?",
    "It was a space, and then the letter e.",
)


@pytest.mark.parametrize("text", ["", "  \n ", "...?!", "\u200b\u200d", "\x00\x07"])
def test_nothing_to_read_is_empty(text: str) -> None:
    expected = None if text == "...?!" else "empty"
    assert refuse_sample(text, []) == expected


@pytest.mark.parametrize(
    "text",
    [
        "the cat the cat the cat the cat the cat",
        "no no no no no no no",
        "I know. I know. I know. I know. I know.",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "lololololololololololololol",
        "ok " * 40,
        "It is good to see you. How nice! It is good to see you.",
        "I like to go and I like to go and he said I like to go and she said I like to go and I like to go",
    ],
)
def test_a_text_that_is_stuck_is_refused(text: str) -> None:
    assert refuse_sample(text, []) == "repeats itself"


@pytest.mark.parametrize(
    "text",
    [
        "hahaha",
        "nooooo way",
        "very very very good",
        "Hi!",
        "ðqx Thoo 7 vernq,, i'le ofthe wasz",  # a newborn
        "I like cats, and cats like me, and I like that cats like me.",
        *SMALL_TALK,
    ],
)
def test_speech_and_babble_pass(text: str) -> None:
    assert refuse_sample(text, []) is None


def test_copying_a_line_is_refused_unless_it_is_a_short_courtesy() -> None:
    lines = [Said("I like the sea, but I have never been there."), Said("Me too!")]
    assert refuse_sample("i like the sea but I have never been there", lines) == "copies a line"
    assert refuse_sample("Me too!", lines) is None


def test_a_line_made_of_what_was_just_said_is_refused() -> None:
    lines = [
        Said("I'm so glad to hear that you love me too."),
        Said("Thank you for being such a wonderful person."),
    ]
    stale = "Oh, I'm so glad to hear that, thank you for being such a wonderful person."
    fresh = "I'm so glad to hear that, and now I would like to know what you dream of."
    assert refuse_sample(stale, lines) == "copies a line"
    assert refuse_sample(fresh, lines) is None


def test_natural_talk_is_no_loop() -> None:
    found = find_loops([Said(text) for text in SMALL_TALK])
    assert found == guard.Loops(0, frozenset())


@given(st.lists(st.sampled_from(SMALL_TALK), min_size=1, max_size=3, unique=True), st.integers(0, 8))
def test_a_loop_trips_once_then_again(phrases: list[str], before: int) -> None:
    """However it began: saying the same few things over and over is found, twice, and ends."""
    talk = [*SMALL_TALK[:before], *itertools.islice(itertools.cycle(phrases), 30)]
    assert find_loops([Said(text) for text in talk]).trips >= 2


def test_the_lines_that_loop_are_hidden_and_the_others_stay() -> None:
    talk = [*SMALL_TALK[:4], *["I do not know what to say to you."] * 6]
    found = find_loops([Said(text) for text in talk])
    assert found.trips == 1
    assert not found.hidden & {0, 1, 2, 3}
    assert {4, 5, 6} <= found.hidden


@given(st.lists(st.sampled_from(SMALL_TALK), max_size=40))
def test_what_was_found_in_a_beginning_stays_found(talk: list[str]) -> None:
    """A scene that is resumed sees the trips and hidden lines that it saw before it was killed."""
    lines = [Said(text) for text in talk]
    for end in range(len(lines)):
        earlier, later = find_loops(lines[:end]), find_loops(lines)
        assert earlier.trips <= later.trips
        assert earlier.hidden <= later.hidden


@given(st.text(max_size=200), st.lists(st.text(max_size=80), max_size=14))
def test_the_guards_can_read_anything(text: str, before: list[str]) -> None:
    refuse_sample(text, [Said(line) for line in before])
    find_loops([Said(line) for line in before])


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"turns": 12}, "max_turns"),
        ({"minutes": 10.0}, "time"),
        ({"failures": 3}, "engine"),
        ({"failures": 2}, None),
        ({"trips": 1}, None),
        ({"trips": 2}, "loop"),
        ({"trips": 2, "turns": 12}, "loop"),
        ({"without_human": 100}, "no_human"),
    ],
)
def test_a_scene_ends_for_a_named_reason(changed: dict[str, float], reason: str | None) -> None:
    state = {"turns": 3, "max_turns": 12, "minutes": 1.0, "max_minutes": 10.0}
    assert stop_reason(**(state | changed)) == reason  # type: ignore[arg-type]


def test_lines_are_counted_since_a_person_spoke() -> None:
    assert guard.lines_without([]) == 0
    assert guard.lines_without([False, True, False, False]) == 2
    assert guard.lines_without([False, False, False]) == 3
