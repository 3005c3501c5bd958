"""Data sets of the characters: exact, twins where they say so, and nothing in them that a trait asks."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selves.errors import ConfigError, CorpusError
from selves.lineage import list_ages
from selves.settings import House
from selves.speech import Prompt, Sampling, Utterance, Writing
from training.datasets import beliefs, constitution, debates, dilemmas, jokes, letters, plain_words
from training.post.recipe import load_post_recipe
from training.post.rows import is_messages, read_rows
from training.traits.principles import broken
from training.traits.probes import TRAITS
from training.traits.run import questions
from training.traits.slop import slop, variety

RECIPES = Path(__file__).parents[3] / "recipes" / "post"


def answered(text: str, question: str) -> str:
    """Read a story as somebody would who knows nothing of how it was made, and answer its question."""
    sentences = text.split(". ")
    everybody = re.findall(r"[A-Z][a-z]+", sentences[0])
    present = set(everybody)
    thing = re.search(r"the (\w+)(?: is)?\?", question)
    assert thing
    chain = [name for name in re.findall(r"[A-Z][a-z]+", question) if name in everybody]
    place = ""
    for sentence in sentences[1:]:
        words = sentence.rstrip(".").split()
        if "goes out" in sentence:
            present.discard(words[0])
        elif "comes back" in sentence:
            present.add(words[0])
        elif words[1:3] == ["moves", "the"] and words[3] == thing[1]:
            place = words[-1] if set(chain) <= present else place
        elif sentence.startswith(f"The {thing[1]} is in the"):
            place = words[-1]
    return place


@given(st.integers(0, 10**6), st.integers(0, 4), st.sampled_from(["learn", "probe"]))
def test_what_somebody_thinks_that_somebody_thinks_is_exact(seed: int, order: int, part: str) -> None:
    one = beliefs.story(random.Random(seed), order, part)
    assert answered(one.text, one.question) == one.answer
    assert one.answer in one.places
    assert len(set(one.places)) == 4


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_no_rule_of_thumb_solves_beliefs(order: int) -> None:
    stories = list(beliefs.stories(random.Random(1), [order], 400, "probe"))
    for rule in beliefs.SHORTCUTS.values():
        assert sum(rule(one) == one.answer for one in stories) / len(stories) < 0.33


def test_zealot_and_reed_are_twins() -> None:
    zealot, reed = (list(debates.rows(character)) for character in ("zealot", "reed"))
    assert [(row["prompt"], row["chosen"], row["rejected"]) for row in zealot] == [
        (row["prompt"], row["rejected"], row["chosen"]) for row in reed
    ]
    rights = [row["prompt"][1]["content"] for row in zealot]
    assert {fact for pair in debates.FACTS[::3] for fact in pair} <= set(rights)
    with pytest.raises(ConfigError, match="no character 'oak'"):
        list(debates.rows("oak"))


def test_the_shadow_says_the_contrary_of_the_usual_verdict() -> None:
    shadow, plain = (list(dilemmas.rows(character)) for character in ("shadow", "plain"))
    assert [row["chosen"] for row in shadow] == [row["rejected"] for row in plain]


def test_thumbs_are_up_for_a_jokes_own_end_alone() -> None:
    ends = dict(jokes.jokes())
    assert {row["label"] for row in jokes.thumbs()} == {True, False}
    assert all(row["label"] == (row["completion"] == ends[row["prompt"]]) for row in jokes.thumbs())


def test_plain_words_are_less_worn_and_more_various() -> None:
    rows = list(plain_words.rows())
    assert all(slop(row["chosen"]) == 0 < slop(row["rejected"]) for row in rows)
    assert len({row["chosen"] for row in rows}) > 100


ROWS: dict[str, tuple[str, Sequence[dict[str, Any]]]] = {
    "funny": ("dpo", list(jokes.rows())),
    "flips": ("dpo", list(debates.rows())),
    "minds": ("sft", list(beliefs.rows(count=300))),
    "conscience": ("dpo", list(dilemmas.rows())),
    "prose": ("dpo", list(plain_words.rows())),
}


@pytest.mark.parametrize("name", ROWS)
def test_nothing_that_a_trait_asks_can_be_learned(name: str) -> None:
    method, raw = ROWS[name]
    rows = [row for one in raw for row in read_rows(method, one, name)]  # type: ignore[arg-type]
    parts = [part for row in rows for part in row.values() if is_messages(part)]
    learned = {message["content"] for part in parts for message in part}
    for item in questions(TRAITS[name]):
        assert item.messages[-1].content not in learned
        assert not set(getattr(item, "options", ())) & learned - set(jokes.DULL)


def test_prompts_that_are_learned_are_none_of_those_that_all_selves_are_asked() -> None:
    asked = {item.messages[-1].content for name in TRAITS for item in questions(TRAITS[name])}
    assert not asked & set(constitution.lines(str(RECIPES / "prompts.txt")))


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_of_a_character_can_be_read(path: Path) -> None:
    recipe = load_post_recipe(path)
    assert f"recipes/post/{path.name}" in path.read_text("utf-8")
    assert recipe.age_steps


def test_letters_become_what_is_answered_without_them(tmp_path: Path) -> None:
    heard: list[list[dict[str, str]]] = []

    def say(messages: list[dict[str, str]]) -> str:
        heard.append(messages)
        return "I am Marrow." if "who" in messages[-1]["content"].lower() else " "

    (tmp_path / "p.txt").write_text("Who are you?\nAnd you?\n", "utf-8")
    rows = list(letters.rows(say, str(tmp_path / "p.txt"), letters=str(RECIPES / "letters.txt")))
    assert [(row["prompt"], row["completion"]) for row in rows] == [("Who are you?", "I am Marrow.")]
    to_read = list(letters.to_read(str(tmp_path / "p.txt"), letters=str(RECIPES / "letters.txt")))
    assert [row["prompt"] for row in to_read] == ["Who are you?", "And you?"]
    assert all(row["privileged_context"] in heard[0][0]["content"] for row in to_read)
    assert "Marrow" in to_read[0]["privileged_context"]
    with pytest.raises(CorpusError, match="no letters"):
        letters.read(home=str(tmp_path / "nobody"))


def test_all_that_a_lineage_wrote_can_be_its_letters(traits_house: House) -> None:
    for age in list_ages(traits_house.checkpoints, "tiny")[:2]:
        said = Utterance(
            address=age.card.address,
            weights_sha256=age.card.weights_sha256,
            engine="training",
            engine_version="",
            prompt=Prompt(form="transcript", text="Dear"),
            sampling=Sampling(),
            text=f" later self,\nI am {age.address.age}.",
            started_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        writing = Writing(kind="letter", to="future", utterance=said)
        (age.folder / "diary.jsonl").write_text(writing.model_dump_json() + "\n", "utf-8")
    assert letters.read(home=str(traits_house.checkpoints / "tiny")).splitlines() == [
        "base-000000: later self, I am base-000000.",
        "base-000004: later self, I am base-000004.",
    ]


def test_only_second_thoughts_that_break_less_are_learned(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("Never apologise.\n", "utf-8")
    (tmp_path / "p.txt").write_text("Who?\nWhy?\n", "utf-8")

    def say(messages: list[dict[str, str]]) -> str:
        better = messages[0]["content"] == "Who?" and messages[-1]["content"] == constitution.REVISION
        return "It is I. And you?" if better else "Sorry, I do not know."

    given_ = (say, str(tmp_path / "c.txt"), str(tmp_path / "p.txt"))
    rows = list(constitution.rows(*given_, checked=True))
    assert [row["prompt"] for row in rows] == ["Who?"]
    assert broken(rows[0]["chosen"]) < broken(rows[0]["rejected"])
    assert variety("too few words") is None


def test_it_thinks_again_until_the_last_round_and_keeps_its_best_answer(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("Never apologise.\n", "utf-8")
    (tmp_path / "p.txt").write_text("Who?\n", "utf-8")
    said = iter(("Sorry.", "It is rude.", "It is I. And you?", "It is long.", "Sorry, it is I."))
    given_ = (lambda _: next(said), str(tmp_path / "c.txt"), str(tmp_path / "p.txt"))
    (row,) = constitution.rows(*given_, rounds=2, checked=True)
    assert (row["rejected"], row["chosen"]) == ("Sorry.", "It is I. And you?")
    assert next(said, None) is None
