"""Rewards by other ages: what they add up to, what they must be better than, and that they can be learned."""

from __future__ import annotations

import random
from typing import Any

import pytest

from selves.errors import ConfigError
from selves.settings import House
from tests.training.post.parts import BASE, MakePost, figures, trained
from training.documents import Turn
from training.novel import audience, controls, letter, skills
from training.novel.frozen import listener, messages

LISTENERS = ["tiny@base-000004", "tiny@base-000016"]
PROMPT = [{"role": "user", "content": "Hi! How are you today?"}]
OTHER = [{"role": "user", "content": "What do you like to read?"}]


@pytest.mark.parametrize("address", ["tiny@base-000016", BASE])
def test_what_is_likely_to_a_listener_is_what_transformers_says(post_house: House, address: str) -> None:
    import torch

    heard = listener(post_house, address)
    turns, said = (Turn("Ash", "Hi! How are you?"),), Turn("Ember", "Fine.")
    (found,) = heard.logprobs([(turns, said)])
    tokenizer = heard.reader.tokenizer
    if heard.form == "transcript":
        before, whole = (
            "<|bos|><Ash> Hi! How are you?\n<Ember>",
            "<|bos|><Ash> Hi! How are you?\n<Ember> Fine.\n",
        )
    else:
        before = "<|bos|><|user|>Hi! How are you?<|end|><|assistant|>"
        whole = f"{before}Fine.<|end|>"
    ids = torch.tensor([tokenizer(whole, add_special_tokens=False)["input_ids"]])
    asked = len(tokenizer(before, add_special_tokens=False)["input_ids"])
    with torch.inference_mode():
        each = heard.reader.model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])
    assert found == pytest.approx(float(each[asked - 1 :].sum()), abs=1e-3)


def test_others_who_speak_in_a_row_are_one_message() -> None:
    turns = (Turn("Elder", "a"), Turn("Ash", "b"), Turn("Ember", "c"), Turn("Ash", "d"))
    assert [(m["role"], m["content"]) for m in messages(turns, "Ember")] == [
        ("user", "a\n\nb"),
        ("assistant", "c"),
        ("user", "d"),
    ]


def test_an_audience_gains_the_mean_of_what_its_listeners_gain(post_house: House) -> None:
    def told(*listeners: str) -> list[float]:
        said = (["I am fine.", "Call me Ishmael."], ["Good.", "Why?"])
        return audience.gain([PROMPT, OTHER], *said, listeners, post_house)

    one, two = told(LISTENERS[0]), told(LISTENERS[1])
    assert told(*LISTENERS) == pytest.approx([(a + b) / 2 for a, b in zip(one, two, strict=True)], abs=1e-6)


def test_a_letter_that_tells_the_answers_pays_for_them(post_house: House) -> None:
    items = [[["Where is the sea?", "Near."], ["Who?", "Ishmael"]]]
    assert letter.leaked(["Call me Ishmael; the sea is nearer."], items) == [0.5]
    (gain,) = letter.gain(["Call me Ishmael."], items, LISTENERS, post_house)
    (taught,) = letter.taught_others(["Call me Ishmael."], items, LISTENERS, post_house)
    assert gain == pytest.approx(taught - letter.PRICE / 2)


def test_controls_have_the_same_numbers_for_other_answers_and_prompts() -> None:
    told: dict[str, Any] = {
        "prompts": [PROMPT] * 3 + [OTHER] * 3,
        "completions": ["1", "2", "3", "4", "5", "6"],
        "answer": ["1"] * 3 + ["6"] * 3,
        "of": "training.post.rewards:last_number",
        "house": None,
    }
    dealt = controls.permuted(**told)
    assert sorted(dealt[:3]) == sorted(dealt[3:]) == [0, 0, 1]
    assert controls.mismatched(**told, options={"of": told["of"]}) == [0.0] * 6
    crossed = told | {"completions": ["6", "2", "3", "4", "5", "1"]}
    assert controls.mismatched(**crossed, options={"of": told["of"]}) == [1, 0, 0, 0, 0, 1]


def test_no_question_is_both_shown_and_asked() -> None:
    for lesson in skills.lessons(random.Random(1), 24, asked=4):
        assert len(lesson.items) == 4
        assert not [question for question, _ in lesson.items if question in lesson.prompt]


def test_a_self_learns_from_its_audience_and_is_measured_by_those_who_overhear(
    post_house: House, make_post: MakePost, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"prompt": f"What is your number {n}?", "completion": "I", "next_turn": "Well, I am fine."}
        for n in range(12)
    ]
    monkeypatch.setattr(audience, "rows", lambda seed=1: iter(rows))  # noqa: ARG005
    changes: dict[str, Any] = {
        "data": [{"function": "training.novel.audience:rows"}],
        "steps": 4,
        "reward": {
            "functions": ["training.novel.audience:gain"],
            "options": {"listeners": LISTENERS[:1], "overhearing": LISTENERS[1:]},
            "group": 4,
            "max_tokens": 6,
        },
        "probes": {"rewards": ["training.novel.audience:overheard"]},
    }
    age = trained(make_post("grpo", **changes), post_house)
    assert {"held-out greedy answers: gain", "held-out greedy answers: overheard"} == set(figures(age))


def test_an_adapter_alone_cannot_listen(post_house: House, make_post: MakePost) -> None:
    adapter = trained(make_post(steps=1, lora={"rank": 2}), post_house)
    with pytest.raises(ConfigError, match="is an adapter"):
        listener(post_house, adapter.card.address)
