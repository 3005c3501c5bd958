"""Sampling: from one seed, shaped as asked, reported as the model meant it."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from selves.lineage import find_age
from selves.settings import House
from selves.speech import Prompt, Sampling
from training import diary, tokenizer
from training.generate import Asked, Speaker, draw, say, say_together
from training.gpt import GPT, Shape
from training.keeping import load_weights

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0])


def speaker(raised: House) -> Speaker:
    age = find_age(raised.checkpoints, "wren@base-000040")
    words = tokenizer.load(age.folder / "tokenizer.json")
    model = GPT(Shape(words.get_vocab_size(), 64, 2, 2, 32, 192, 64))
    load_weights(model, age)
    return Speaker(model, words, age.card.address, age.card.weights_sha256)


def test_greedy_speech_is_what_transformers_says(raised: House) -> None:
    from transformers import AutoModelForCausalLM

    wren = speaker(raised)
    prompt = Prompt(form="transcript", text="<Guest> Hi! How are you today, number 5?\n<Wren>")
    ids, ends = diary.prepare(wren.tokenizer, prompt)
    ours = say(wren, prompt, ids, Sampling(max_tokens=20, temperature=0), ends)
    folder = find_age(raised.checkpoints, wren.address).folder
    stock = AutoModelForCausalLM.from_pretrained(str(folder))
    given = torch.tensor([ids])
    theirs = stock.generate(
        given, attention_mask=torch.ones_like(given), max_new_tokens=20, do_sample=False, eos_token_id=ends
    )
    assert list(ours.token_ids) == theirs[0, len(ids) :].tolist()


def test_the_same_seed_says_the_same_and_moves_no_global_random_state(raised: House) -> None:
    wren = speaker(raised)
    prompt = Prompt(form="transcript", text="In the year")
    ids, ends = diary.prepare(wren.tokenizer, prompt)
    before = torch.get_rng_state()
    said = [say(wren, prompt, ids, Sampling(max_tokens=12, temperature=1.0, seed=s), ends) for s in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert said[0].token_ids == said[1].token_ids != said[2].token_ids


def test_speech_ends_before_a_stop_string(raised: House) -> None:
    wren = speaker(raised)
    prompt = Prompt(form="transcript", text="In the year 1700 they had")
    ids, ends = diary.prepare(wren.tokenizer, prompt)
    whole = say(wren, prompt, ids, Sampling(max_tokens=20, temperature=0), ends)
    cut = say(wren, prompt, ids, Sampling(max_tokens=20, temperature=0, stop=("and",)), ends)
    assert "and" in whole.text
    assert cut.text == whole.text.partition("and")[0]
    assert cut.finish_reason == "stop"


def test_a_prompt_longer_than_the_window_keeps_its_end(raised: House) -> None:
    wren = speaker(raised)
    prompt = Prompt(form="transcript", text="In the year 1700 they had tea and nothing else.\n" * 20)
    ids, ends = diary.prepare(wren.tokenizer, prompt)
    assert len(ids) > 64
    said = say(wren, prompt, ids, Sampling(max_tokens=20, temperature=0), ends)
    assert len(said.token_ids) == 1
    assert said.finish_reason in ("length", "stop")


def test_what_is_asked_together_is_answered_as_if_asked_alone(raised: House) -> None:
    wren = speaker(raised)
    texts = ("In the year 1700 they had", "<Guest> Hi! How are you today, number 5?\n<Wren>", "In")
    asked = []
    for number, text in enumerate(texts):
        prompt = Prompt(form="transcript", text=text)
        ids, ends = diary.prepare(wren.tokenizer, prompt)
        asked += [
            Asked(prompt, ids, Sampling(max_tokens=4 * number + 1, temperature=0)),
            Asked(prompt, ids, Sampling(max_tokens=60, temperature=1.0, seed=number)),
            Asked(prompt, ids, Sampling(max_tokens=30, temperature=0, stop=("and",))),
        ]
    together = say_together(wren, asked, ends)
    alone = [say(wren, one.prompt, one.ids, one.sampling, ends) for one in asked]
    assert [(said.token_ids, said.text, said.finish_reason) for said in together] == [
        (said.token_ids, said.text, said.finish_reason) for said in alone
    ]
    assert say_together(wren, [], ends) == []


@given(st.integers(0, 2**31), st.floats(0.1, 2.0), st.floats(0.05, 1.0))
def test_only_the_likeliest_tokens_up_to_top_p_are_drawn(seed: int, temperature: float, top_p: float) -> None:
    sampling = Sampling(temperature=temperature, top_p=top_p)
    token, logprob = draw(LOGITS, sampling, (), torch.Generator().manual_seed(seed))
    chances = (LOGITS / temperature).softmax(-1)
    assert float(chances[:token].sum()) < top_p or token == 0
    assert math.isclose(logprob, float(LOGITS.log_softmax(-1)[token]), rel_tol=1e-6)


def test_a_repeated_token_is_penalised_whatever_its_sign() -> None:
    sampling = Sampling(temperature=0, repetition_penalty=3.0)
    token, logprob = draw(LOGITS, sampling, (0, 3), torch.Generator())
    assert token == 1
    assert math.isclose(logprob, float(LOGITS.log_softmax(-1)[1]), rel_tol=1e-6)
