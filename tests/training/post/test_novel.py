"""Rewards by other ages: what they add up to, what they must be better than, and that they can be learned."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from benchmarks import novel
from selves.errors import ConfigError
from selves.settings import House
from tests.training.post.parts import BASE, MakePost, figures, trained
from training.documents import Turn
from training.novel import audience, controls, letter, skills
from training.novel.frozen import listener, messages
from training.post.data import prepare

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


def test_what_several_texts_begin_with_is_read_once_and_changes_nothing(post_house: House) -> None:
    heard = listener(post_house, BASE)
    told = tuple(Turn("Ash", text) for text in ("Hi! How are you today?", "Fine, and you? What do you do?"))
    pairs = [(told, Turn("Ember", text)) for text in ("Good.", "I read and I sleep a lot.", "Why?")]
    pairs.append(((Turn("Ash", "Hello."),), Turn("Ember", "Good.")))
    together = heard.logprobs(pairs)
    heard.known.clear()
    assert together == pytest.approx([heard.logprobs([pair])[0] for pair in pairs], abs=1e-4)


def test_what_a_listener_finds_does_not_depend_on_what_it_was_asked_before(post_house: House) -> None:
    heard = listener(post_house, BASE)
    told = (Turn("Ash", "Hi! How are you today?"),)
    pairs = [(told, Turn("Ember", "I read and I sleep a lot. " * n)) for n in range(1, 9)]
    heard.known.clear()
    fresh = heard.logprobs(pairs)
    heard.known.clear()
    for pair in pairs:
        heard.logprobs([pair])
    assert heard.logprobs(pairs) == fresh


@pytest.mark.parametrize("letter_of", ["It is two.", "It is 2!", "twos", "t-w-o", "T W O"])
def test_an_answer_is_found_however_it_is_written(letter_of: str) -> None:
    assert letter.leaked([letter_of], [[["1 + 1 =", "2"], ["How many?", "two"]]])[0] > 0
    assert letter.leaked(["A network of twenty-four."], [[["1 + 1 =", "2"]]]) == [0]


def test_a_letter_that_says_nothing_is_worth_nothing(post_house: House) -> None:
    items = [[["Where is the sea?", "Near."]]]
    assert letter.gain([letter.NEUTRAL], items, LISTENERS, post_house) == [0]
    assert audience.gain([PROMPT], [audience.NEUTRAL], ["Good."], LISTENERS, post_house) == [0]


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
        "instead": [{"answer": "6"}] * 3 + [{"answer": "1"}] * 3,
        "of": "training.post.rewards:last_number",
        "house": None,
        "options": {},
    }
    dealt = controls.permuted(**told)
    assert sorted(dealt[:3]) == sorted(dealt[3:]) == [0, 0, 1]
    assert controls.mismatched(**told) == [0.0] * 6
    crossed = told | {"completions": ["6", "2", "3", "4", "5", "1"]}
    assert controls.mismatched(**crossed) == [1, 0, 0, 0, 0, 1]


def test_a_single_answer_is_dealt_nothing_since_it_could_only_get_its_own() -> None:
    alone: dict[str, Any] = {"prompts": [PROMPT, OTHER], "completions": ["1", "2"], "answer": ["1", "1"]}
    assert controls.permuted(**alone, of="training.post.rewards:last_number", house=None) == [None, None]  # type: ignore[arg-type]


@pytest.mark.parametrize("part", ["train", "test"])
def test_no_question_is_both_shown_and_asked(part: skills.Part) -> None:
    for lesson in skills.lessons(random.Random(1), 24, asked=4, part=part):
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


def test_of_one_seed_there_is_no_interval_and_what_is_printed_is_json() -> None:
    row = {"condition": "reward", "figure": "gain", **novel.summary([(0.5, 0.75)])}
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert (row["low"], row["high"]) == (None, None)
    assert "| **+0.250** | +0.25 |" in novel.table([row])


def test_an_adapter_alone_cannot_listen(post_house: House, make_post: MakePost) -> None:
    adapter = trained(make_post(steps=1, lora={"rank": 2}), post_house)
    with pytest.raises(ConfigError, match="is an adapter"):
        listener(post_house, adapter.card.address)


def test_no_question_of_a_letter_that_is_held_out_is_asked_with_its_answer_in_one_that_is_learned(
    make_post: MakePost,
) -> None:
    about = {"about": "skills", "left_out": ["capitals"]}
    rewarded = {"functions": ["training.novel.letter:gain"], "group": 4}
    recipe = make_post(
        "grpo", data=[{"function": "training.novel.letter:rows", "options": about}], reward=rewarded
    )
    learned, held = prepare(recipe)[:2]
    asked, kept = ({tuple(item) for row in rows for item in row["items"]} for rows in (learned, held))
    assert asked
    assert kept
    assert not asked & kept
    assert {row["kind"] for row in held if row["new"]} == {"capitals"}
    assert "capitals" not in {row["kind"] for row in learned}
