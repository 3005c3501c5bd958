"""Selves talk with people on Discord: answered once, by the right one, whatever breaks in between."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from bots.room import NO_ENGINE, Pace
from tests.bots.discord_house import POSTS, QUICK, DiscordHouse, eventually, open_house


@pytest.fixture
async def house(tmp_path: Path, serving_url: str) -> AsyncIterator[DiscordHouse]:
    async with open_house(tmp_path, serving_url) as opened:
        yield opened


async def test_a_mention_is_answered_once_by_the_one_who_is_meant(house: DiscordHouse) -> None:
    async with house.awake() as awake:
        hello = house.anna.post(house.room, f"Hello {house.double.mention(house.selves['Ember'])}!")
        [answer] = await house.until_said(1)
        heard, said = await awake.settled()
        provenance = await awake.store.provenance(said.id)
    assert answer.author is house.selves["Ember"].user
    assert answer.reply_to_id == hello.id
    assert answer.mentions == []
    assert (heard.speaker, heard.text, heard.origin) == ("guest-1", "Hello @Ember!", "selfhosted")
    assert (said.text, said.platform_id, said.reply_to) == (answer.content, answer.id, heard.id)
    assert provenance.generation is not None
    assert provenance.generation.prompt_has_human
    assert provenance.generation.address == "tiny@chat-000008"
    assert house.double.world.typing[0] == (house.selves["Ember"].user, house.room)


async def test_a_server_of_ones_own_may_be_particular(house: DiscordHouse) -> None:
    house.double.rest.is_foreign = True
    async with house.awake():
        hello = house.anna.post(house.room, f"Hello {house.double.mention(house.selves['Ember'])}!")
        [answer] = await house.until_said(1)
    assert answer.reply_to_id == hello.id


async def test_a_thread_is_kept_with_the_message_it_begins_at(house: DiscordHouse) -> None:
    async with house.awake() as awake:
        hello = house.anna.post(house.room, "Ember, shall we?")
        await house.until_said(1)
        thread = {
            "id": str(hello.id),
            "guild_id": str(house.double.world.guild_id),
            "parent_id": str(house.room.id),
            "owner_id": str(house.anna.user.id),
            "name": "shall we",
            "type": 11,
            "newly_created": True,
            "message_count": 0,
            "member_count": 1,
            "thread_metadata": {"archived": False, "auto_archive_duration": 60, "archive_timestamp": None},
        }
        house.double.send_raw(house.registrar, "THREAD_CREATE", thread)

        async def has_begun() -> bool:
            return any(m.thread_id is not None for m in await awake.kept())

        await eventually(has_begun)
        heard, _ = await awake.settled()
    assert (heard.platform_id, heard.thread_id) == (hello.id, hello.id)


async def test_a_reply_to_a_self_is_answered_by_it(house: DiscordHouse) -> None:
    async with house.awake() as awake:
        house.anna.post(house.room, f"{house.double.mention(house.selves['Spark'])} hi")
        [first] = await house.until_said(1)
        await awake.settled()
        house.anna.post(house.room, "and then?", reply_to=first)
        second = (await house.until_said(2))[-1]
        messages = await awake.settled()
    assert second.author is house.selves["Spark"].user
    assert [m.speaker for m in messages] == ["guest-1", "Spark", "guest-1", "Spark"]
    assert messages[2].reply_to == messages[1].id


async def test_a_burst_with_a_name_gets_one_answer(house: DiscordHouse) -> None:
    async with house.awake(pace=QUICK._replace(quiet_s=2.0, patience_s=20.0)) as awake:
        house.anna.post(house.room, "Ember, are you there?")
        house.anna.post(house.room, "I mean you, Ember")
        last = house.anna.post(house.room, "Ember?")
        [answer] = await house.until_said(1)
        messages = await awake.settled()
    assert answer.reply_to_id == last.id
    assert [m.speaker for m in messages] == ["guest-1"] * 3 + ["Ember"]


async def test_all_who_are_mentioned_answer_and_nobody_else_is_disturbed(house: DiscordHouse) -> None:
    both = " ".join(house.double.mention(bot) for bot in house.selves.values())
    async with house.awake() as awake:
        house.anna.post(house.room, "just talking to myself")
        house.anna.post(house.room, f"{both} good morning")
        await house.until_said(2)
        await awake.settled()
    assert {m.author.name for m in house.said()} == {"Ember", "Spark"}


async def test_bots_are_never_answered(house: DiscordHouse) -> None:
    stranger = house.double.add_bot("Stranger")
    mention = house.double.mention(house.selves["Ember"])
    async with house.awake() as awake:
        for author in (stranger, house.selves["Spark"], house.registrar):
            house.double.world.post(author.user, house.room, f"{mention} hello")
        house.anna.post(house.room, f"{mention} hello")
        await house.until_said(2)
        messages = await awake.settled()
    assert [m.speaker for m in messages] == ["guest-1", "Ember"]


async def test_what_is_kept_out_is_neither_kept_nor_answered(house: DiscordHouse) -> None:
    mention = house.double.mention(house.selves["Ember"])
    async with house.awake() as awake:
        house.anna.post(house.room, f".{mention} a secret")
        house.anna.post(house.room, f"🙈 {mention} another")
        house.anna.post(house.room, "something said too soon")
        house.anna.post(house.room, f"{mention} hello")
        await house.until_said(1)
        await awake.settled()
        taken_back = list(house.room.messages.values())[2]
        house.double.world.react(house.selves["Spark"].user, taken_back, "🙈")
        house.anna.react(taken_back, "🙈")
        house.anna.post(house.room, "the last word")

        async def last_word() -> bool:
            return (await awake.kept())[-1].text == "the last word"

        await eventually(last_word)
        texts = [m.text for m in await awake.kept() if m.human]
    assert texts == ["", "@Ember hello", "the last word"]


async def test_edits_and_deletions_are_followed_into_prompts(house: DiscordHouse) -> None:
    mention = house.double.mention(house.selves["Ember"])
    async with house.awake() as awake:
        first = house.anna.post(house.room, "my number is 12345")
        second = house.anna.post(house.room, f"{mention} hello")
        third = house.anna.post(house.room, "it is true")
        await house.until_said(1)
        house.anna.edit(first, "never mind")
        house.anna.delete(third)
        house.anna.edit(second, ". never mind either")

        async def followed() -> bool:
            return [m.text for m in await awake.settled() if m.human] == ["never mind", "", ""]

        await eventually(followed)
        [generation] = await awake.store.generations((await awake.kept())[0].scene_id)
    assert generation.prompt is None


async def test_a_deletion_that_nobody_told_of_is_found_by_comparing(house: DiscordHouse) -> None:
    async with house.awake() as awake:
        house.anna.post(house.room, "to stay")
        gone = house.anna.post(house.room, "to go")

        async def both() -> bool:
            return len(await awake.kept()) == 2

        await eventually(both)
        await awake.until_caught_up()
        del house.room.messages[gone.id]
        await awake.fleet.compare()
        await awake.fleet.rooms[house.room.id].settle()
        assert [m.text for m in await awake.kept()] == ["to stay", ""]


async def test_other_channels_are_not_listened_to(house: DiscordHouse) -> None:
    elsewhere = house.double.add_channel("elsewhere")
    mention = house.double.mention(house.selves["Ember"])
    async with house.awake() as awake:
        house.anna.post(elsewhere, f"{mention} hello")
        house.anna.post(house.room, f"{mention} hello")
        await house.until_said(1)
        messages = await awake.settled()
    assert len(messages) == 2
    assert house.double.messages(elsewhere, by=house.selves["Ember"]) == []


async def test_a_failing_engine_is_shown_by_a_sign_and_kept(house: DiscordHouse) -> None:
    house.selves["Hoarse"] = house.double.add_bot("Hoarse")
    async with house.awake() as awake:
        asked = house.anna.post(house.room, f"{house.double.mention(house.selves['Hoarse'])} hello")
        await house.double.until(lambda: asked.reactions)
        house.anna.post(house.room, f"{house.double.mention(house.selves['Ember'])} and you?")
        await house.until_said(1)
        [heard, *_] = await awake.settled()
        failed = (await awake.store.generations(heard.scene_id))[0]
    assert asked.reactions == {NO_ENGINE: [house.registrar.user]}
    assert failed.error
    assert failed.address == "broken@base-000000"


async def test_a_stale_question_is_kept_but_not_answered(house: DiscordHouse) -> None:
    mention = house.double.mention(house.selves["Ember"])
    async with house.awake(pace=QUICK._replace(stale_s=60)) as awake:
        house.anna.post(house.room, f"{mention} five minutes ago", ago=timedelta(minutes=5))
        house.anna.post(house.room, f"{mention} now")
        [answer] = await house.until_said(1)
        assert len(await awake.settled()) == 3
    assert house.room.messages[answer.reply_to_id or 0].content.endswith("now")


# ---------------------------------------------------------------- what breaks


@pytest.mark.parametrize(
    "trouble",
    [
        {"status": 429, "times": 3},
        {"status": 502},
        {"status": 502, "applied": True},
        {"status": 503, "times": 2},
        {"drop": True, "applied": True, "times": 2},
    ],
    ids=["429", "502", "502 after the work", "503", "connection cut after the work"],
)
async def test_an_answer_is_posted_once_whatever_discord_says(
    house: DiscordHouse, trouble: dict[str, object]
) -> None:
    ember = house.selves["Ember"]
    house.double.fail("POST", POSTS, bot=ember, **trouble)
    async with house.awake() as awake:
        house.anna.post(house.room, f"{house.double.mention(ember)} hello")
        await house.until_said(1)
        messages = await awake.settled()
    assert len(house.said()) == 1
    assert len(messages) == 2
    assert len(house.double.requests("POST", "/messages", by=ember)) > 1


async def test_a_dropped_connection_loses_nothing(house: DiscordHouse) -> None:
    mention = house.double.mention(house.selves["Ember"])
    async with house.awake() as awake:
        await awake.until_caught_up()
        house.double.drop(house.registrar)
        house.double.drop(house.selves["Ember"])
        house.anna.post(house.room, "while you were away")
        house.anna.post(house.room, f"{mention} hello")
        await house.until_said(1)
        messages = await awake.settled()
    assert house.double.gateway.resumes >= 1
    assert [m.text for m in messages if m.human] == ["while you were away", "@Ember hello"]


async def test_what_a_lost_session_missed_is_caught_up_from_history(house: DiscordHouse) -> None:
    mention = house.double.mention(house.selves["Ember"])
    before = house.anna.post(house.room, "before they came")
    async with house.awake() as awake:
        first = house.anna.post(house.room, "one")
        second = house.anna.post(house.room, "two")

        async def both() -> bool:
            return len(await awake.kept()) == 2

        await eventually(both)
        await awake.until_caught_up()
        house.double.forget(house.registrar)
        house.anna.edit(first, "one, corrected")
        house.anna.delete(second)
        for number in range(120):
            house.anna.post(house.room, f"missed {number}")
        house.anna.post(house.room, f"{mention} hello")
        house.anna.post(house.room, ".not this")
        await house.until_said(1)
        messages = [m for m in await awake.settled() if m.human]
    assert house.double.gateway.refused_resumes == 1
    assert [m.text for m in messages[:2]] == ["one, corrected", ""]
    assert [m.text for m in messages[2:]] == [*(f"missed {n}" for n in range(120)), "@Ember hello"]
    assert before.content not in [m.text for m in messages]
    assert len(house.said()) == 1


async def test_who_has_asked_while_the_selves_slept_is_answered_once_when_they_wake(
    house: DiscordHouse,
) -> None:
    mention = house.double.mention(house.selves["Ember"])
    async with house.awake():
        house.anna.post(house.room, f"{mention} hello")
        await house.until_said(1)
    house.anna.post(house.room, f"{mention} are you awake?")
    async with house.awake() as awake:
        await house.until_said(2)
        assert len(await awake.settled()) == 4
    async with house.awake() as awake:
        house.anna.post(house.room, f"{mention} and now?")
        await house.until_said(3)
        assert len(await awake.settled()) == 6
    assert [m.reply_to_id for m in house.said()] == [
        m.id for m in house.double.messages(house.room, by=house.anna)
    ]
    assert house.registrar.command_writes == 1


async def test_an_odd_event_ends_one_client_and_it_comes_back(house: DiscordHouse) -> None:
    ember = house.selves["Ember"]
    async with house.awake() as awake:
        crashed = house.double.gateway.session_of(house.registrar)
        house.double.send_raw(house.registrar, "MESSAGE_CREATE", {"id": "not a number"})
        await house.double.until(
            lambda: house.double.gateway.session_of(house.registrar) not in (None, crashed)
        )
        house.anna.post(house.room, f"{house.double.mention(ember)} hello")
        await house.until_said(1)
        await awake.settled()
    assert len(house.said()) == 1


async def test_a_database_that_fails_for_a_while_loses_nothing(
    house: DiscordHouse, caplog: pytest.LogCaptureFixture
) -> None:
    mention = house.double.mention(house.selves["Ember"])
    async with house.awake(lock_wait_s=0.5) as awake:
        await awake.until_caught_up()
        path = house.path / "selves.db"
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
            # in a thread: whoever is writing just now needs this loop to come to an end
            await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
            house.anna.post(house.room, f"{mention} hello")

            async def given_up() -> bool:
                return "Catching up" in caplog.text

            await eventually(given_up)
        await house.until_said(1)
        messages = await awake.settled()
    assert [m.speaker for m in messages] == ["guest-1", "Ember"]


def test_the_default_pace_lets_people_finish_their_burst() -> None:
    assert Pace().quiet_s < Pace().patience_s < Pace().stale_s
