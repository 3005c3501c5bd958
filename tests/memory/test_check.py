"""A check finds what should not be, and nothing else; housekeeping loses nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from memory.check import check, parts_to_check
from memory.store import Store, open_store
from memory.upkeep import vacuum
from tests.memory.parts import NOON, SPEC, Clock, reading, run_sql, utterance


@pytest.fixture
async def talked(store: Store) -> Store:
    """Two scenes, one of them with a person in it."""
    scene = await store.begin_scene(SPEC, place="discord:1")
    heard = await store.hear(scene.id, platform_id=1, user_id=5, text="Hi \x00", created_at=NOON)
    said = utterance(prompt=reading(heard.id, text="Ada: Hi \x00"))
    for _ in range(3):
        await store.keep_turn(scene.id, speaker="Ember", utterances=[said, utterance("No.")], chosen=0)
    other = await store.begin_scene(SPEC, place="terminal")
    await store.keep_turn(other.id, speaker="Ash", utterances=[utterance("Silent.")], chosen=None)
    return store


async def problems(store: Store) -> str:
    return "\n".join((await check(store)).problems)


async def test_what_the_store_wrote_is_whole(talked: Store) -> None:
    report = await check(talked)
    assert report.problems == ()
    assert report.shut == 0
    assert report.looked_at["message"] == 4
    assert report.looked_at["generation"] == 7


async def test_all_parts_are_told_of_as_they_are_looked_at(talked: Store) -> None:
    told: Counter[str] = Counter()
    await check(talked, on_part=lambda part, more: told.update({part: more}))
    assert told == await parts_to_check(talked)


async def test_the_newest_can_be_looked_at_alone(talked: Store, database_url: str) -> None:
    told: Counter[str] = Counter()
    report = await check(talked, newest=2, on_part=lambda part, more: told.update({part: more}))
    assert (report.problems, report.looked_at["message"], report.looked_at["generation"]) == ((), 2, 2)
    assert told == await parts_to_check(talked, 2)
    run_sql(database_url, "UPDATE message SET nonce = 'another' WHERE id = 2")
    assert (await check(talked, newest=2)).problems == ()
    assert (await check(talked, newest=3)).problems == ("the nonce of a message is that of another place: 2",)
    assert (await check(talked, newest=99)).looked_at["message"] == 4


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        ("UPDATE scene SET messages = 9 WHERE id = 1", "messages of a scene are missing: 1"),
        ("UPDATE message SET sequence = 9 WHERE id = 4", "messages of a scene are missing: 1"),
        (
            "UPDATE message SET nonce = 'another' WHERE id = 2",
            "nonce of a message is that of another place: 2",
        ),
        (
            "UPDATE generation SET prompt = 'Hm.' WHERE id = 7",
            "prompt of a sample is not what its hash says: 7",
        ),
        ("UPDATE message SET text = 'AAAA' WHERE id = 1", "does not open with its person's key"),
        ("UPDATE generation SET prompt = 'AAAA' WHERE id = 1", "does not open with its people's keys: 1"),
        (
            "UPDATE person SET forgotten_at = '2026-05-02 00:00:00'",
            "still has a key: 1\na message of somebody who was forgotten still has words: 1",
        ),
    ],
)
async def test_a_row_that_could_not_have_been_written_so_is_named(
    talked: Store, database_url: str, harm: str, problem: str
) -> None:
    run_sql(database_url, harm)
    assert problem in await problems(talked)


async def test_words_without_their_key_are_counted_as_shut(talked: Store, database_url: str) -> None:
    run_sql(database_url, "DELETE FROM person_key")
    report = await check(talked)
    assert (report.shut, report.problems) == (1, ())


async def test_a_row_that_points_nowhere_is_named(new_sqlite: Callable[[bool], str]) -> None:
    url = new_sqlite(True)
    async with open_store(url) as store:
        scene = await store.begin_scene(SPEC, place="terminal")
        await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance()], chosen=0)
        run_sql(url, "DELETE FROM generation")
        assert "row 1 of message points at a row of generation that is not there" in await problems(store)


async def test_an_index_that_says_other_words_is_found_and_made_anew(
    new_sqlite: Callable[[bool], str],
) -> None:
    url = new_sqlite(True)
    async with open_store(url) as store:
        scene = await store.begin_scene(SPEC, place="terminal")
        await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance()], chosen=0)
        run_sql(url, "DELETE FROM message_words_docsize")
        assert "index message_words is not what the words say" in await problems(store)
        await vacuum(store)
        assert await problems(store) == ""


@pytest.mark.postgres
async def test_a_counter_behind_its_rows_is_found(
    new_postgresql: Callable[[bool], str], clock: Clock
) -> None:
    url = new_postgresql(True)
    async with open_store(url, clock=clock) as store:
        await store.begin_scene(SPEC, place="terminal")
        await store.begin_scene(SPEC, place="terminal")
        run_sql(url, "SELECT setval('scene_id_seq', 1)")
        assert await problems(store) == "the counter of scene is behind its rows"


async def test_vacuuming_gives_space_back_and_loses_nothing(talked: Store, tmp_path: Path) -> None:
    scene = await talked.begin_scene(SPEC, place="terminal")
    for _ in range(60):
        await talked.say(scene.id, speaker="Ada", text="x" * 20_000, origin="parlor")
    async with talked.writing() as session:
        from sqlalchemy import text

        await session.execute(text("UPDATE message SET text = '' WHERE speaker = 'Ada'"))
    before, after = await vacuum(talked)
    assert after < before - 500_000
    assert await problems(talked) == ""
