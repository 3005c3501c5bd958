"""Messages are rendered by the age's own template exactly as it was trained on them."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from selves.lineage import find_age
from selves.settings import House
from training import chat, shards, tokenizer
from training.documents import Document, Turn
from training.recipe import Recipe

MESSAGES = [
    {"role": "user", "content": "Hi! How are you?"},
    {"role": "assistant", "content": "Fine, thank you."},
    {"role": "user", "content": "Good."},
]


def of_age(house: House, age: str) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(str(find_age(house.checkpoints, f"wren@{age}").folder))


def test_a_base_age_renders_messages_as_a_transcript_that_it_may_continue(raised: House) -> None:
    stock = of_age(raised, "base-000040")
    told = [{"role": "system", "content": "They meet\nagain."}, *MESSAGES]
    text = stock.apply_chat_template(told, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|bos|>They meet again.\n<Guest> Hi! How are you?\n<Wren> Fine, thank you.\n<Guest> Good.\n<Wren>"
    )


def test_a_chat_age_renders_messages_with_the_tokens_of_their_roles(raised: House) -> None:
    stock = of_age(raised, "chat-000010")
    text = stock.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|bos|><|user|>Hi! How are you?<|end|><|assistant|>Fine, thank you.<|end|>"
        "<|user|>Good.<|end|><|assistant|>"
    )


def test_the_template_marks_as_generated_what_the_chat_stage_learned(
    raised: House, make_recipe: Callable[..., Recipe]
) -> None:
    stock = of_age(raised, "chat-000010")
    turns = tuple(Turn(message["role"], message["content"]) for message in MESSAGES)
    corpus = shards.prepare(make_recipe(), raised, lambda _: None)
    silent = random.Random(3)  # draws no system message, and begins at the start
    assert silent.random() < chat.FROM_THE_START
    assert silent.random() > chat.SYSTEM_SHARE
    ids, learned = chat.render(Document(turns=turns), corpus, 10**6, make_recipe(), random.Random(3))
    rendered = stock.apply_chat_template(
        MESSAGES, return_dict=True, return_assistant_tokens_mask=True, tokenize=True
    )
    assert ids == rendered["input_ids"]
    assert [int(mark) for mark in learned] == rendered["assistant_masks"]
    learned_text = stock.decode([token for token, mark in zip(ids, learned, strict=True) if mark])
    assert learned_text == "Fine, thank you.<|end|>"


@pytest.mark.parametrize("age", ["base-000000", "base-000040", "chat-000010"])
def test_transformers_reads_text_as_training_did(raised: House, age: str) -> None:
    stock = of_age(raised, age)
    ours = tokenizer.load(find_age(raised.checkpoints, f"wren@{age}").folder / "tokenizer.json")
    text = "<Wren> I like old maps.\n<Guest> Why?\n\nÅland — 岛 🙂"
    assert stock(text).input_ids == [stock.bos_token_id, *ours.encode(text, add_special_tokens=False).ids]
    assert stock.decode(stock(text).input_ids, skip_special_tokens=True) == text


def test_an_engine_stops_where_a_turn_ends(raised: House) -> None:
    from transformers import GenerationConfig

    for age, ends in (("base-000040", ["<|end|>", "Ċ"]), ("chat-000010", ["<|end|>"])):
        stock = of_age(raised, age)
        folder = find_age(raised.checkpoints, f"wren@{age}").folder
        config = GenerationConfig.from_pretrained(str(folder))
        assert stock.convert_ids_to_tokens(config.eos_token_id) == ends
        assert stock.convert_ids_to_tokens(stock("a\n<b", add_special_tokens=False).input_ids)[1] == "Ċ"


def test_the_vocabulary_is_a_multiple_of_64_and_every_id_is_a_token() -> None:
    small = tokenizer.learn(["hardly any text"], 1024)
    assert small.get_vocab_size() % 64 == 0
    assert small.get_vocab_size() < 1024
    for number in range(small.get_vocab_size()):
        small.decode([number])
        assert small.id_to_token(number) is not None


@given(st.text())
def test_any_text_comes_back_as_it_was_and_never_becomes_a_special_token(text: str) -> None:
    ids = SMALL.encode(text, add_special_tokens=False).ids
    assert SMALL.decode(ids) == text
    assert not set(ids) & SPECIAL


@pytest.mark.parametrize("special", tokenizer.SPECIAL)
def test_what_looks_like_a_special_token_in_text_is_text(special: str) -> None:
    ids = SMALL.encode(f"a{special}b", add_special_tokens=False).ids
    assert not set(ids) & SPECIAL
    assert SMALL.decode(ids) == f"a{special}b"


SMALL = tokenizer.learn(["some text about text"], 320)
SPECIAL = {tokenizer.token(SMALL, special) for special in tokenizer.SPECIAL}
