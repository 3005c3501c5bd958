"""Words are sealed with their author's key, and open for nobody without it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, select, update

from memory import sealing
from memory.models import GenerationRow, MessageRow, PersonKeyRow
from memory.store import Store
from memory.types import Message
from tests.memory.parts import NOON, SPEC, every_cell, reading, sqlite_bytes, utterance

SECRET = "the moon is a lamp"
keys = st.lists(st.builds(sealing.new_key), min_size=1, max_size=4)


@given(st.text(st.characters(codec=None, categories=None)), keys)
def test_what_was_sealed_opens_with_the_same_keys_only(text: str, keys: list[str]) -> None:
    sealed = sealing.seal(text, keys)
    assert sealing.unseal(sealed, keys) == text
    assert sealing.seal(text, keys) != sealed
    for wrong in (keys[:-1], [*keys, sealing.new_key()], [*keys[:-1], sealing.new_key()]):
        with pytest.raises(ValueError, match="other keys, or is damaged"):
            sealing.unseal(sealed, wrong)
    if len(set(keys)) > 1:
        with pytest.raises(ValueError, match="other keys, or is damaged"):
            sealing.unseal(sealed, keys[::-1])


@given(st.text(), st.integers(min_value=0))
def test_a_changed_character_is_noticed(text: str, place: int) -> None:
    key = sealing.new_key()
    sealed = sealing.seal(text, [key])
    at = place % len(sealed.rstrip("="))
    other = "A" if sealed[at] != "A" else "Q"
    changed = sealed[:at] + other + sealed[at + 1 :]
    try:
        assert sealing.unseal(changed, [key]) == text  # the last character has bits that mean nothing
    except ValueError:
        return
    assert at == len(sealed.rstrip("=")) - 1


@pytest.mark.parametrize("garbage", ["", "A", "not base64 at all ☃", "AAAA", "=" * 40])
def test_what_was_never_sealed_is_said_to_be_damaged(garbage: str) -> None:
    with pytest.raises(ValueError, match="other keys, or is damaged"):
        sealing.unseal(garbage, [sealing.new_key()])


async def two_people(store: Store) -> tuple[Message, Message, Message]:
    """Somebody on Discord, somebody in the parlor, and a self who read both."""
    scene = await store.begin_scene(SPEC, place="discord:1")
    heard = await store.hear(scene.id, platform_id=1, user_id=5, text=SECRET, created_at=NOON)
    typed = await store.say(scene.id, speaker="You", text=f"{SECRET}?", origin="parlor")
    prompt = reading(heard.id, typed.id, text=f"guest-1: {SECRET}\nYou: {SECRET}?")
    kept = await store.keep_turn(
        scene.id, speaker="Ember", utterances=[utterance("It is.", prompt=prompt)], chosen=0
    )
    assert kept
    return heard, typed, kept


async def test_people_s_words_and_the_prompts_that_hold_them_are_on_disk_sealed(
    store: Store, database_url: str
) -> None:
    heard, typed, kept = await two_people(store)
    assert SECRET not in every_cell(database_url)
    assert SECRET.encode() not in (sqlite_bytes(database_url) or b"")
    assert (await store.message(heard.id)).text == SECRET
    assert [m.text for m in await store.messages(heard.scene_id)] == [SECRET, f"{SECRET}?", "It is."]
    (sample,) = await store.generations(heard.scene_id)
    assert sample.prompt
    assert SECRET in sample.prompt.messages[0].content
    provenance = await store.provenance(kept.id)
    assert provenance.generation == sample
    assert (heard.person_id, typed.person_id, kept.person_id) == (1, 2, None)


async def test_a_prompt_is_shut_when_one_of_its_people_takes_the_key_away(store: Store) -> None:
    heard, typed, _ = await two_people(store)
    async with store.writing() as session:
        await session.execute(delete(PersonKeyRow).where(PersonKeyRow.person_id == heard.person_id))
    shut = await store.message(heard.id)
    assert (shut.text, shut.shut) == ("", True)
    open_still = await store.message(typed.id)
    assert (open_still.text, open_still.shut) == (f"{SECRET}?", False)
    (sample,) = await store.generations(heard.scene_id)
    assert sample.prompt is None


async def test_a_damaged_row_is_shut_and_the_others_are_read(store: Store) -> None:
    heard, _, _ = await two_people(store)
    async with store.writing() as session:
        await session.execute(update(MessageRow).where(MessageRow.id == heard.id).values(text="damaged"))
        await session.execute(update(GenerationRow).values(prompt="damaged"))
    messages = await store.messages(heard.scene_id)
    assert [(m.text, m.shut) for m in messages] == [("", True), (f"{SECRET}?", False), ("It is.", False)]
    assert (await store.generations(heard.scene_id))[0].prompt is None


async def test_who_comes_back_to_a_house_without_keys_gets_a_new_one(store: Store) -> None:
    heard, _, _ = await two_people(store)
    async with store.writing() as session:
        await session.execute(delete(PersonKeyRow))
    again = await store.hear(heard.scene_id, platform_id=2, user_id=5, text="I am back", created_at=NOON)
    assert again.speaker == heard.speaker
    assert (await store.message(again.id)).text == "I am back"
    assert (await store.message(heard.id)).shut
    edited = await store.edit_heard(1, text="what I meant", edited_at=NOON + timedelta(minutes=1))
    assert edited
    assert (edited.text, edited.shut) == ("what I meant", False)
    async with store.reading() as session:
        assert len((await session.scalars(select(PersonKeyRow))).all()) == 1
