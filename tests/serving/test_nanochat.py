"""Imported nanochat models compute what nanochat computes, in steps as in one go, and vLLM is kept away."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from selves.errors import UsageError
from selves.lineage import Age, find_age, read_age
from selves.settings import House
from selves.speech import ChatMessage, Prompt, Sampling
from serving import nanochat
from serving.embedded import LoadedAge, encode
from serving.facts import read_facts
from serving.placing import EMBEDDED_ONLY, why_not_vllm
from serving.voice import Voice
from tests.serving.conftest import Serve
from training import nanochat as importer

FIXTURES = Path(__file__).parents[1] / "fixtures" / "nanochat"
PROMPTS = json.loads((FIXTURES / "base" / "expected.json").read_text("utf-8"))["prompts"]
CHAT = json.loads((FIXTURES / "chat" / "expected.json").read_text("utf-8"))
TOLERANCE = {"atol": 2e-5, "rtol": 1e-5}
"""Logits are capped at 15; float32 leaves a few millionths of them to the order of summation."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    home = tmp_path_factory.mktemp("nanochat")
    house = House(home=home, cast_path=home / "selves.toml")
    for name in ("base", "chat"):
        importer.import_nanochat(FIXTURES / name, name, None, house, lambda _: None)
    return house


@pytest.fixture(scope="module")
def base(house: House) -> LoadedAge:
    return LoadedAge(read_age(house.checkpoints / "base" / "import-000300"))


@pytest.fixture(scope="module")
def chat_age(house: House) -> Age:
    return read_age(house.checkpoints / "chat" / "import-000007")


@pytest.fixture(scope="module")
def chat(chat_age: Age) -> LoadedAge:
    return LoadedAge(chat_age)


@pytest.mark.parametrize("number", range(len(PROMPTS)))
@torch.inference_mode()
def test_logits_are_nanochats_own(base: LoadedAge, number: int) -> None:
    expected = load_file(FIXTURES / "base" / "logits.safetensors")[f"logits_{number}"]
    ids = encode(base.tokenizer, PROMPTS[number]["prompt"], {})
    torch.testing.assert_close(base.whole(torch.tensor([ids])).logits[0], expected, **TOLERANCE)


@torch.inference_mode()
def test_windows_shared_keys_and_a_padded_vocabulary_are_nanochats_own(chat: LoadedAge) -> None:
    stored = load_file(FIXTURES / "chat" / "logits.safetensors")
    logits = chat.whole(stored["long_ids"][None]).logits[0]
    torch.testing.assert_close(logits[stored["long_positions"]], stored["long_logits"], **TOLERANCE)


@torch.inference_mode()
def test_a_conversation_is_rendered_and_read_as_by_nanochat(chat: LoadedAge) -> None:
    ids = encode(chat.tokenizer, CHAT["messages"], {})
    assert ids == CHAT["ids"]
    expected = load_file(FIXTURES / "chat" / "logits.safetensors")["chat_logits"]
    torch.testing.assert_close(chat.whole(torch.tensor([ids])).logits[0], expected, **TOLERANCE)


@settings(max_examples=15, deadline=None)
@given(st.sets(st.integers(1, 399), max_size=8))
@torch.inference_mode()
def test_a_sequence_in_pieces_gives_the_logits_of_the_whole(chat: LoadedAge, cuts: set[int]) -> None:
    ids = load_file(FIXTURES / "chat" / "logits.safetensors")["long_ids"]
    whole = chat.whole(ids[None]).logits[0]
    cache = chat.new_memory()
    for begin, end in pairwise([0, *sorted(cuts), 400]):
        last = chat.read(ids[begin:end].tolist(), cache)[-1]
        torch.testing.assert_close(last, whole[end - 1], **TOLERANCE)


@torch.inference_mode()
def test_a_sequence_token_by_token_gives_the_logits_of_the_whole(base: LoadedAge) -> None:
    for said in PROMPTS:
        ids = said["ids"] + said["greedy_24"]
        whole, cache = base.whole(torch.tensor([ids])).logits[0], base.new_memory()
        steps = torch.stack([base.read([token_id], cache)[-1] for token_id in ids])
        torch.testing.assert_close(steps, whole, **TOLERANCE)


def test_generate_of_transformers_works_with_it(base: LoadedAge) -> None:
    prompt = torch.tensor([PROMPTS[0]["ids"]])
    written = base.whole.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=24, do_sample=False
    )
    assert written[0, prompt.shape[1] :].tolist() == PROMPTS[0]["greedy_24"]


def test_padding_is_refused_rather_than_read(base: LoadedAge) -> None:
    with pytest.raises(ValueError, match="does not know padding"):
        base.whole(torch.tensor([[1, 2, 3]]), attention_mask=torch.tensor([[0, 1, 1]]))


async def test_the_server_says_what_nanochat_says(house: House, serve: Serve) -> None:
    greedy = Sampling(max_tokens=24, temperature=0)
    with serve(house.checkpoints) as url:
        async with Voice(url) as voice:
            for said in PROMPTS:
                prompt = Prompt(form="transcript", text=said["prompt"])
                utterance = await voice.say("base@import-000300", prompt, greedy)
                assert list(utterance.token_ids) == said["greedy_24"]
                assert "<|bos|>" + said["prompt"] + utterance.text == said["decoded"]
            messages = tuple(ChatMessage(**message) for message in CHAT["messages"])
            answer = await voice.say("chat@import-000007", Prompt(form="chat", messages=messages), greedy)
            assert list(answer.token_ids) == CHAT["greedy_24"]


def test_an_answer_ends_where_nanochats_engine_ends_it(chat: LoadedAge) -> None:
    ends = {chat.tokenizer.convert_tokens_to_ids(name) for name in ("<|assistant_end|>", "<|bos|>")}
    assert chat.words.end_ids == ends


@pytest.mark.parametrize("roles", [["assistant"], ["user", "user"], ["system"], ["system", "assistant"]])
def test_messages_out_of_turn_are_refused(chat: LoadedAge, roles: list[str]) -> None:
    messages = [{"role": role, "content": "Hi"} for role in roles]
    with pytest.raises(UsageError, match="refuses these messages"):
        encode(chat.tokenizer, messages, {})


def test_vllm_is_not_even_started_for_it(house: House) -> None:
    age = find_age(house.checkpoints, "base@import-000300")
    assert why_not_vllm(read_facts(age)).startswith("vLLM cannot serve it: it is a nanochat of 2026")


def test_importer_engine_and_vllm_mean_the_same_model(chat_age: Age) -> None:
    config: dict[str, Any] = json.loads((chat_age.folder / "config.json").read_text())
    assert config["model_type"] == nanochat.MODEL_TYPE
    assert nanochat.MODEL_TYPE in EMBEDDED_ONLY
    assert chat_age.card.architecture == nanochat.SelvesNanochatForCausalLM.__name__
    known = nanochat.SelvesNanochatConfig(vocab_size=64, num_hidden_layers=1).to_dict()
    assert set(config) - {"architectures", "dtype", "use_cache", "eos_token_id"} <= set(known) | {
        "bos_token_id",
        "pad_token_id",
    }
