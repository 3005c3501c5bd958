"""Prompts as conversations: what selves read, taken apart again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory import formats
from memory.datasetcard import card
from memory.wanted import Wanted
from selves.cast import Persona
from selves.speech import ChatMessage, Form, Prompt, Sampling
from serving.prompt import Line, build_prompt
from serving.voice import ModelInfo
from tests.memory.parts import NOON

EMBER = Persona(name="Ember", address="ember@base-000400")


def transcript(text: str) -> list[formats.Said] | None:
    return formats.conversation(Prompt(form="transcript", text=text))


def said(*pairs: tuple[str, str]) -> list[formats.Said]:
    return [{"role": role, "content": content} for role, content in pairs]


def test_a_base_age_prompt_becomes_turns() -> None:
    text = "They meet.\n<Ash> Hi!\n<Ember> Hello.\n<Ember> Again.\n<Ash> Bye.\n<Ember>"
    assert transcript(text) == said(
        ("system", "They meet."), ("user", "Hi!"), ("assistant", "Hello.\nAgain."), ("user", "Bye.")
    )


def test_several_others_keep_their_names() -> None:
    assert transcript("<Ash> Hi!\n<Wick> Ho!\n<Ember>") == said(("user", "Ash: Hi!\nWick: Ho!"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<Ember>", said(("user", "…"))),
        (
            "<Ember> I spoke last.\n<Ember>",
            said(("user", "…"), ("assistant", "I spoke last."), ("user", "…")),
        ),
        ("They meet.\n<Ember>", said(("system", "They meet."), ("user", "…"))),
        ("<Ash>\n<Ember>", said(("user", ""))),
    ],
)
def test_a_prompt_always_ends_with_the_others(text: str, expected: list[formats.Said]) -> None:
    assert transcript(text) == expected


@pytest.mark.parametrize("text", ["Once upon a time", "<Ember> Dear", "", "<Ash> Hi!\n"])
def test_a_text_to_continue_is_no_conversation(text: str) -> None:
    assert transcript(text) is None


def test_a_chat_prompt_stays_as_it_is() -> None:
    prompt = Prompt(form="chat", messages=(ChatMessage(role="user", content=" Hi!\n"),))
    assert formats.conversation(prompt) == said(("user", " Hi!\n"))


names = st.sampled_from(("Ash", "Ember", "Wick", "guest-1", "a b"))


@given(
    st.lists(st.builds(Line, names, st.text(max_size=30)), max_size=6),
    st.text(max_size=20),
    st.sampled_from(("transcript", "chat")),
)
def test_whatever_selves_read_is_a_conversation_that_templates_take(
    lines: list[Line], premise: str, form: Form
) -> None:
    info = ModelInfo(
        address=EMBER.address,
        form=form,
        context_tokens=10_000,
        weights_sha256="a" * 64,
        engine="embedded",
        engine_version="0",
    )
    prompt = build_prompt(
        info, EMBER, lines, premise=premise, count=lambda text: len(str(text)), sampling=Sampling()
    )
    conversation = formats.conversation(prompt)
    assert conversation is not None
    roles = [message["role"] for message in conversation]
    if roles[0] == "system":
        roles = roles[1:]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
    heard = formats.prompt_words(conversation)
    assert all(word in heard for line in lines for word in _as_read(line.text))


def _as_read(text: str) -> list[str]:
    from serving.prompt import one_line

    return one_line(text).split()


@given(st.recursive(st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=5))
def test_any_row_is_one_line_that_any_program_reads(value: Any) -> None:
    written = formats.to_line({"value": value})
    assert written.count(b"\n") == 1
    assert json.loads(written.decode("utf-8"))["value"] == formats.readable_row(value)


@given(
    st.dictionaries(st.text(max_size=10), st.integers(0, 9), max_size=3),
    st.sampled_from(("dpo", "transcript")),
)
def test_a_card_is_a_card_whatever_is_counted(counts: dict[str, int], format_: formats.Format) -> None:
    import yaml

    summary = {
        "rows": {"train": 3, "test": 1},
        "chosen_longer": 1,
        **dict.fromkeys(("origins", "basis", "sources", "ages", "left_out"), counts),
    }
    text = card(Wanted(format=format_, test_share=0.1), summary, version="1", created_at=NOON)
    _, front, body = text.split("---\n", 2)
    (config,) = yaml.safe_load(front)["configs"]
    assert [files["split"] for files in config["data_files"]] == ["train", "test"]
    assert "## Rules" in body
    assert ("the longer one in 25% of the pairs" in body) == (format_ == "dpo")
