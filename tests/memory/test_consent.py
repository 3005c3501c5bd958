"""What people allowed is written down, and how long their words stay follows from it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from memory import consent
from memory.models import ConsentRow
from memory.people import find_person
from memory.posted import consents_at
from memory.store import Store
from memory.types import Message
from selves.errors import StoreError
from tests.memory.parts import NOON, SPEC, Clock, reading, run_sql, utterance


async def heard(store: Store, platform_id: int = 1) -> Message:
    scene = await store.begin_scene(SPEC, place="discord:1", key="talk")
    return await store.hear(scene.id, platform_id=platform_id, user_id=5, text="Hi", created_at=NOON)


async def test_nothing_is_allowed_until_it_is_and_the_newest_word_counts(store: Store) -> None:
    person = (await heard(store)).person_id
    assert person

    async def said() -> consent.Consents:
        async with store.reading() as session:
            return (await consent.consents_of(session, [person]))[person]

    assert await said() == {}
    for granted in (True, False, True):
        await consent.allow(store, person, "publish", granted=granted, notice="2026-05", via="cli")
        assert await said() == {"publish": granted}
    await consent.allow(store, person, "train", granted=False, notice="2026-05", via="cli")
    assert await said() == {"publish": True, "train": False}
    async with store.reading() as session:
        lines = (await session.scalars(select(ConsentRow).order_by(ConsentRow.id))).all()
    assert [(line.purpose, line.granted) for line in lines] == [
        ("publish", True),
        ("publish", False),
        ("publish", True),
        ("train", False),
    ]
    assert (lines[0].notice, lines[0].via, lines[0].at) == ("2026-05", "cli", NOON)


async def test_words_that_may_be_stored_do_not_end_and_end_again_when_that_is_taken_back(
    store: Store, clock: Clock
) -> None:
    first = await heard(store)
    assert first.person_id
    assert first.expires_at == NOON + timedelta(days=30)
    kept = await store.keep_turn(
        first.scene_id, speaker="Ember", utterances=[utterance(prompt=reading(first.id))], chosen=0
    )
    assert kept
    await consent.allow(store, first.person_id, "store", granted=True, notice="1", via="cli")
    second = await heard(store, 2)
    assert second.expires_at is None
    assert (await store.message(first.id)).expires_at is None
    assert await store.expire(clock.pass_days(60)) == 0
    provenance = await store.provenance(kept.id)
    assert provenance.generation
    assert provenance.generation.prompt

    await consent.allow(store, first.person_id, "store", granted=False, notice="1", via="cli")
    assert (await store.message(second.id)).expires_at == NOON + timedelta(days=30)
    assert await store.expire(clock.now) == 2
    provenance = await store.provenance(kept.id)
    assert provenance.generation
    assert provenance.generation.prompt is None


async def test_what_is_typed_in_the_parlor_stays_until_that_is_taken_back(store: Store, clock: Clock) -> None:
    scene = await store.begin_scene(SPEC, place="terminal")
    typed = await store.say(scene.id, speaker="You", text="Hi", origin="parlor")
    assert typed.person_id
    assert await store.expire(clock.pass_days(100)) == 0
    await consent.allow(store, typed.person_id, "store", granted=False, notice="1", via="cli")
    later = await store.say(scene.id, speaker="You", text="Hi again", origin="parlor")
    assert later.expires_at == clock.now + timedelta(days=30)
    assert await store.expire(clock.now) == 1
    assert (await store.message(typed.id)).status == "expired"


async def test_who_was_forgotten_allows_nothing_any_more(store: Store, database_url: str) -> None:
    person = (await heard(store)).person_id
    assert person
    run_sql(database_url, "UPDATE person SET forgotten_at = '2026-05-01 12:00:00'")
    with pytest.raises(StoreError, match="guest-1 was forgotten"):
        await consent.allow(store, person, "train", granted=True, notice="1", via="cli")


async def test_a_name_in_the_parlor_that_looks_like_an_id_is_nobodys_id(store: Store) -> None:
    scene = await store.begin_scene(SPEC, place="terminal")
    typed = await store.say(scene.id, speaker="discord:5", text="Hi.", origin="parlor")
    assert typed.person_id is not None
    await consent.allow(store, typed.person_id, "train", granted=True, notice="1", via="test")
    assert await consents_at(store, "discord", 5) == {}
    said = await store.hear(scene.id, platform_id=1, user_id=5, text="Hello.", created_at=NOON)
    assert await consents_at(store, "discord", 5) == {}
    async with store.reading() as session:
        for who, person_id in (
            ("discord:5", said.person_id),
            ("parlor:discord:5", typed.person_id),
        ):
            assert (await find_person(session, store.house, who)).id == person_id
