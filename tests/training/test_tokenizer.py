"""Messages are rendered by the age's own template exactly as it was trained on them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from selves.lineage import find_age
from selves.settings import House
from training import identity, shards, tokenizer
from training.documents import Document, Turn
from training.gpt import IGNORED
from training.lessons import FROM_THE_START, Lessons
from training.recipe import Recipe

MESSAGES = [
    {"role": "user", "content": "Hi! How are you?"},
    {"role": "assistant", "content": "Fine, thank you."},
    {"role": "user", "content": "Good."},
]


def of_age(house: House, age: str) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(str(find_age(house.checkpoints, f"wren@{age}").folder))


def lessons_of(house: House, recipe: Recipe) -> Lessons:
    corpus = shards.prepare(recipe, house, lambda _: None)
    return Lessons(shards.conversations(corpus), corpus, recipe, identity.facts(recipe, "Wren", 1000, 40, 99))


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


def test_a_message_may_come_in_parts(raised: House) -> None:
    parts = [{"type": "text", "text": "Hi!"}, {"type": "text", "text": "How are you?"}]
    for age, said in (
        ("base-000040", "<Guest> Hi! How are you?\n"),
        ("chat-000010", "Hi!\nHow are you?<|end|>"),
    ):
        text = of_age(raised, age).apply_chat_template([{"role": "user", "content": parts}], tokenize=False)
        assert text.endswith(said)


def test_the_template_marks_as_generated_what_the_chat_stage_learned(
    raised: House, make_recipe: Callable[..., Recipe]
) -> None:
    stock = of_age(raised, "chat-000010")
    talk = Document(turns=tuple(Turn(message["role"], message["content"]) for message in MESSAGES))
    lessons = lessons_of(raised, make_recipe())
    silent = next(seed for seed in range(99) if random.Random(seed).random() < FROM_THE_START)
    told = [{"role": "system", "content": "You are new."}, *MESSAGES]
    talk = talk._replace(turns=(Turn("system", "You are new."), *talk.turns))
    ids, learned = lessons.piece(talk, 10**6, random.Random(silent))
    rendered = stock.apply_chat_template(
        told, return_dict=True, return_assistant_tokens_mask=True, tokenize=True
    )
    assert ids == rendered["input_ids"]
    assert [int(mark) for mark in learned] == rendered["assistant_masks"]
    learned_text = stock.decode([token for token, mark in zip(ids, learned, strict=True) if mark])
    assert learned_text == "Fine, thank you.<|end|>"


def test_trl_learns_on_from_a_chat_age_with_loss_on_its_turns_alone(raised: House, tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    folder = find_age(raised.checkpoints, "wren@chat-000010").folder
    config = SFTConfig(
        output_dir=str(tmp_path),
        assistant_only_loss=True,
        max_steps=1,
        per_device_train_batch_size=1,
        report_to="none",
        use_cpu=True,
        bf16=False,
        save_strategy="no",
        activation_checkpointing=False,
    )
    trainer = SFTTrainer(str(folder), args=config, train_dataset=Dataset.from_list([{"messages": MESSAGES}]))
    batch = next(iter(trainer.get_train_dataloader()))
    learned = batch["labels"][batch["labels"] != IGNORED]
    assert of_age(raised, "chat-000010").decode(learned) == "Fine, thank you.<|end|>"
    trainer.train()


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
