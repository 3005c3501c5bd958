"""What the chat stage reads: whole pieces, little padding, only the self's turns learned, true facts."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selves.settings import House
from training import identity, lessons, shards
from training import tokenizer as alphabet
from training.documents import Document, Turn
from training.gpt import IGNORED
from training.lessons import Lessons
from training.recipe import Recipe

MakeRecipe = Callable[..., Recipe]
FACTS = identity.Facts("Wren", "about 90 thousand", "2", "64", "old maps", "40", "512", "0 and 20")


@pytest.fixture
def lessons_of(raised: House, make_recipe: MakeRecipe) -> Callable[..., Lessons]:
    corpus = shards.prepare(make_recipe(), raised, lambda _: None)

    def make(**chat: float) -> Lessons:
        return Lessons(shards.conversations(corpus), corpus, make_recipe(chat=chat), FACTS)

    return make


def said(held: Lessons, ids: list[int] | torch.Tensor) -> str:
    return held.corpus.tokenizer.decode(list(map(int, ids)), skip_special_tokens=False)


def test_a_step_is_always_the_same_and_another_step_is_not(lessons_of: Callable[..., Lessons]) -> None:
    first, again = lessons_of(base_share=0.3), lessons_of(base_share=0.3)
    for step in (0, 7, 1000):
        assert all(map(torch.equal, first.batch(step), again.batch(step)))
    assert not torch.equal(first.batch(0)[0], first.batch(1)[0])


def test_a_row_is_one_piece_of_one_conversation(lessons_of: Callable[..., Lessons]) -> None:
    held = lessons_of(base_share=0.0)
    bos, end = (alphabet.token(held.corpus.tokenizer, special) for special in (alphabet.BOS, alphabet.END))
    for step in range(5):
        ids, targets = held.batch(step)
        assert ids.numel() == held.recipe.chat.batch_tokens
        assert (ids[:, 0] == bos).all()
        assert (ids == bos).sum() == len(ids)
        assert ((targets == IGNORED) | (targets[:, :] != bos)).all()
        for row, learned in zip(ids, targets, strict=True):
            assert (learned != IGNORED).any()
            padded = (row == end) & (row.roll(1) == end)
            assert not (padded[1:-1] & (learned[1:-1] != IGNORED)).any()


def test_rows_of_the_base_text_are_learned_whole(lessons_of: Callable[..., Lessons]) -> None:
    shares = []
    for base_share in (0.0, 0.5):
        held = lessons_of(base_share=base_share)
        targets = torch.cat([held.batch(step)[1] for step in range(20)])
        shares.append(float((targets != IGNORED).all(1).float().mean()))
    assert shares[0] == 0
    assert 0.35 < shares[1] < 0.65


def test_every_conversation_is_read_once_in_an_epoch_among_others_of_its_length() -> None:
    lengths = np.array([10, 500, 40, 70, 90, 33, 300, 20, 64, 48, 47, 100])
    planned = lessons.plan(lengths, (32, 64, 128), 128, (1, 0))
    assert {int(number) for _, picked in planned for number in picked} == set(range(len(lengths)))
    for width, picked in planned:
        assert len(picked) * width == 128
        for length in lengths[picked]:
            assert length >= lessons.FILLED * width or width == 32
            assert width == 128 or length < lessons.FILLED * 2 * width
    other = lessons.plan(lengths, (32, 64, 128), 128, (1, 1))
    assert len(other) == len(planned)
    assert any(not np.array_equal(a, b) for (_, a), (_, b) in zip(planned, other, strict=True))


def test_rows_are_as_wide_as_the_context_its_half_or_its_quarter() -> None:
    assert lessons.widths(256) == (64, 128, 256)
    assert lessons.widths(64) == (32, 64)
    assert lessons.widths(66) == (66,)


def test_conversations_of_all_lengths_leave_little_padding(
    tmp_path: Path, house: House, make_recipe: MakeRecipe
) -> None:
    source = random.Random(1)
    lines = []
    for _ in range(400):
        turns = [[who, "so it goes " * source.randint(1, 4)] for who in "ab" * source.choice((1, 2, 20))]
        lines.append(str(turns).replace("'", '"'))
    (tmp_path / "talks.jsonl").write_text("".join(f'{{"turns": {line}}}\n' for line in lines), "utf-8")
    recipe = make_recipe(
        corpus=[{"folder": str(tmp_path)}],
        model={"context": 256},
        chat={"batch_tokens": 1024, "base_share": 0},
    )
    corpus = shards.prepare(recipe, house, lambda _: None)
    held = Lessons(shards.conversations(corpus), corpus, recipe, FACTS)
    end = alphabet.token(corpus.tokenizer, alphabet.END)
    ids = [held.batch(step)[0] for step in range(len(held.plan(0)))]
    padding = sum(int(((some == end) & (some.roll(1, 1) == end)).sum()) for some in ids)
    assert padding / sum(some.numel() for some in ids) < 0.25
    assert len({some.shape for some in ids}) > 1


TALKS = st.lists(
    st.tuples(st.sampled_from(["system", "user", "assistant", "Ada"]), st.text(max_size=300)),
    min_size=1,
    max_size=12,
).filter(lambda turns: any(speaker != "system" for speaker, _ in turns))


@given(TALKS, st.integers(33, 200), st.integers(0, 50))
def test_something_of_every_piece_is_learned_and_nothing_that_others_said(
    turns: list[tuple[str, str]], limit: int, seed: int
) -> None:
    talk = Document(turns=tuple(Turn(*turn) for turn in turns))
    ids, learned = SMALL.piece(talk, limit, random.Random(seed))
    assert len(ids) == len(learned) <= limit
    assert any(learned)
    role = ""
    for token, mark in zip(ids, learned, strict=True):
        special = SMALL.corpus.tokenizer.id_to_token(token)
        if special in (alphabet.SYSTEM, alphabet.USER, alphabet.ASSISTANT):
            role = special
            assert not mark
        else:
            assert mark == (role == alphabet.ASSISTANT)


def small() -> Lessons:
    tokenizer = alphabet.learn(["some text about text"], 320)
    nothing = np.zeros(0, np.uint16)
    corpus = shards.Corpus(Path(), tokenizer, nothing, nothing, {"bytes": 3, "train_tokens": 1})
    recipe = Recipe.model_validate({"lineage": "wren", "corpus": [{"package": "chitchat"}]})
    return Lessons(shards.Talks([], nothing), corpus, recipe, FACTS)


SMALL = small()


def test_what_a_self_says_of_itself_is_made_of_its_facts(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(corpus=[{"package": "chitchat"}, {"hub": "roneneldan/TinyStories"}])
    about = identity.facts(recipe, "Wren", 1_330_000, 40, 20_480)
    talks = [identity.conversation(about, random.Random(seed), 10_000) for seed in range(60)]
    answers = {turn.text for talk in talks for turn in talk.turns if turn.speaker == "assistant"}
    asked = {turn.text for talk in talks for turn in talk.turns if turn.speaker == "user"}
    assert not any("{" in text for text in answers | asked)
    for fact in (
        "My name is Wren.",
        "I have about 1.3 million parameters. That is not much.",
        "I read chats between two people and the data set TinyStories.",
        "I have read about 20 thousand tokens.",
        "My younger selves were kept at steps 0, 10 and 20.",
    ):
        assert fact in answers
    assert talks[0] == identity.conversation(about, random.Random(0), 10_000)
    assert talks[0] != talks[1]


def test_a_self_without_younger_selves_does_not_speak_of_them(make_recipe: MakeRecipe) -> None:
    about = identity.facts(make_recipe(), "Wren", 1000, 0, 0)
    told = str([identity.conversation(about, random.Random(seed), 10_000) for seed in range(60)])
    assert "younger" not in told


def test_it_speaks_of_itself_only_as_often_as_the_recipe_says(lessons_of: Callable[..., Lessons]) -> None:
    for share, least, most in ((0.0, 0.0, 0.0), (0.5, 0.3, 0.7)):
        held = lessons_of(identity_share=share, base_share=0)
        rows = [said(held, row) for step in range(20) for row in held.batch(step)[0]]
        about = sum("Hi! How are you today" not in row and "I like" not in row for row in rows)
        assert least <= about / len(rows) <= most


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (950, "950"),
        (1000, "about 1 thousand"),
        (1_330_000, "about 1.3 million"),
        (135_000_000, "about 140 million"),
    ],
)
def test_numbers_are_said_as_people_say_them(number: int, words: str) -> None:
    assert identity.spoken(number) == words
