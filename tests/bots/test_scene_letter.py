"""How a letter is asked for, and what of a sample is the letter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from bots import letter
from memory.types import Message
from selves.cast import Persona, PersonaSampling
from serving.voice import ModelInfo, Voice

TINDER = Persona(name="Tinder", address="tiny@base-000016")
EMBER = Persona(name="Ember", address="tiny@chat-000008", about="You are Ember.")


def info(persona: Persona) -> ModelInfo:
    return ModelInfo(
        address=persona.address,
        form="chat" if persona.about else "transcript",
        context_tokens=256,
        weights_sha256="0" * 64,
        engine="embedded",
        engine_version="1",
    )


def received(text: str) -> Message:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Message(
        id=7,
        scene_id=1,
        sequence=1,
        speaker="Ember",
        address=EMBER.address,
        origin="self",
        text=text,
        generation_id=1,
        reply_to=None,
        nonce="n",
        place="terminal",
        platform_id=None,
        status="posted",
        created_at=now,
        posted_at=now,
        edited_at=None,
        deleted_at=None,
        expires_at=None,
    )


@pytest.fixture
async def voice(serving_url: str) -> AsyncIterator[Voice]:
    async with Voice(serving_url) as opened:
        yield opened


def test_one_that_only_continues_text_is_given_a_letter_that_has_begun() -> None:
    page = letter.Page(TINDER, EMBER, "They write.", received("Dear Tinder,\nhow are you?\n<|end|>"))
    prompt = letter.render(info(TINDER), page, page.received.text if page.received else "")
    assert prompt.text == ("They write.\n<Ember> Dear Tinder, how are you? < |end|>\n<Tinder> Dear Ember, I")
    assert prompt.message_ids == (7,)


def test_one_that_can_be_told_things_is_asked() -> None:
    prompt = letter.render(info(EMBER), letter.Page(EMBER, TINDER, "They write.", None), "")
    assert prompt.messages[0].content == "You are Ember."
    assert prompt.messages[1].content == (
        'They write.\nWrite a short letter to Tinder. Begin it with "Dear Tinder,".'
    )


async def test_a_letter_that_is_too_long_to_read_loses_its_end(voice: Voice) -> None:
    writer = TINDER.model_copy(update={"sampling": PersonaSampling(max_tokens=40)})
    long = received("Dear Tinder,\n" + "how are you? " * 200)
    prompt, sampling = await letter.compose(
        voice, await voice.info(TINDER.address), letter.Page(writer, EMBER, "", long), seed=1
    )
    assert sampling.max_tokens == 80
    assert prompt.text.startswith("<Ember> Dear Tinder, how are you?")
    assert prompt.text.endswith("\n<Tinder> Dear Ember, I")
    assert await voice.count_tokens(TINDER.address, prompt.text) <= 256 - 80


@pytest.mark.parametrize(
    ("sample", "text"),
    [
        (" am well.\n\n\n\nAnd you?\n", "Dear Ember,\nI am well.\n\nAnd you?"),
        ("'m fine.\n<Ash> Hi!", "Dear Ember,\nI'm fine."),
        (" am\x1b[2J well.", "Dear Ember,\nI am[2J well."),
        ("  \n", ""),
    ],
)
def test_the_beginning_on_the_page_is_part_of_the_letter(sample: str, text: str) -> None:
    page = letter.Page(TINDER, EMBER, "", None)
    assert letter.read(info(TINDER), page, sample, lambda body: body) == text


def test_one_that_was_asked_writes_the_beginning_itself() -> None:
    page = letter.Page(EMBER, TINDER, "", None)
    sample = "Dear Tinder,\n\nI am well.  \n"
    assert letter.read(info(EMBER), page, sample, lambda body: body) == "Dear Tinder,\n\nI am well."


def test_a_letter_gains_by_its_length_up_to_a_point() -> None:
    assert letter.worth("Hm") < letter.worth("I am. You are.") < letter.worth("A. B. C. D.")
    assert letter.worth("A. B. C. D.") == letter.worth("A. B. C. D. E.")
