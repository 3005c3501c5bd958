"""Kinds of scenes on Discord: chatter that a schedule began, letters that arrive, and who may speak."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bots.newcomers import Newcomers
from memory.types import Scene
from selves.cast import SceneSpec, Schedule
from tests.bots.discord_house import Awake, DiscordHouse, eventually, far_off, open_house


@pytest.fixture
async def house(tmp_path: Path, serving_url: str) -> AsyncIterator[DiscordHouse]:
    async with open_house(tmp_path, serving_url) as opened:
        yield opened


async def ended(awake: Awake, name: str) -> list[Scene]:
    return await awake.store.scenes(name=name, place=awake.house.place, status="ended")


async def test_an_interview_is_played_and_what_selves_say_pings_nobody(house: DiscordHouse) -> None:
    spec = SceneSpec(
        name="asked", kind="interview", cast=("Ember", "Spark"), opening="@everyone <@1>, hello!", max_turns=2
    )
    async with house.awake() as awake:
        awake.fleet.rooms[house.room.id].play_soon(spec, "command:1")
        await eventually(lambda: ended(awake, "asked"))
        await awake.settled()
    assert [m.author.name for m in house.room.messages.values()] == ["House", "Ember", "Spark"]
    for request in house.double.requests("POST", r"/channels/\d+/messages"):
        assert request.body["allowed_mentions"].get("parse") == []


async def test_chatter_that_a_schedule_begins_ends_by_itself(house: DiscordHouse) -> None:
    chatter = {"name": "chatter", "kind": "chatter", "cast": ["Ember", "Spark"], "branching": 0.5}
    schedule = Schedule(scene="chatter", cron=far_off(), channel=house.room.id)
    house.extra = {"scene": [chatter], "schedule": [schedule.model_dump()]}
    async with house.awake() as awake:
        await awake.fleet.timetable.fire(schedule, datetime.now(UTC))
        await eventually(lambda: ended(awake, "chatter"))
        [scene] = await ended(awake, "chatter")
    assert scene.stop_reason in ("silence", "max_turns")


async def test_a_letter_to_the_future_is_answered_here_by_the_self_that_is_that_age(
    house: DiscordHouse, checkpoints: Path
) -> None:
    letter = {"name": "onward", "kind": "letter", "cast": ["Spark"], "to": "tiny@chat-000008"}
    house.extra = {"scene": [letter]}
    async with house.awake() as awake:
        awake.fleet.rooms[house.room.id].play_soon(house.cast().find_scene("onward"), "command:1")
        await eventually(lambda: ended(awake, "onward"))
        await awake.fleet.timetable.deliver()
        assert await awake.store.scenes(name="answer") == [], "that age is not there yet"
        newcomers = Newcomers(awake.store, checkpoints)
        assert "tiny@chat-000008" in await newcomers.look()
        assert await newcomers.look() == []
        await awake.fleet.timetable.deliver()
        await eventually(lambda: ended(awake, "answer"))
        await awake.settled()
    sent, answer = house.said()
    assert (sent.author.name, answer.author.name) == ("Spark", "Ember")
    assert "Dear Ember," in sent.content


async def test_a_self_for_adults_plays_in_no_open_channel(house: DiscordHouse) -> None:
    ages = {"Ember": "tiny@chat-000008", "Spark": "tiny@base-000000"}
    house.extra = {
        "persona": [
            {"name": n, "address": a, "token": f"TOKEN_{n.upper()}", "age_restricted": n == "Ember"}
            for n, a in ages.items()
        ]
    }
    async with house.awake() as awake:
        awake.fleet.rooms[house.room.id].play_soon(house.cast().find_scene("meeting"), "command:1")
        house.anna.post(house.room, f"{house.double.mention(house.selves['Ember'])} hello")
        house.anna.post(house.room, f"{house.double.mention(house.selves['Spark'])} hello")
        await house.until_said(1)
        await awake.settled()
        assert await ended(awake, "meeting") == []
    assert {m.author.name for m in house.said()} == {"Spark"}


async def test_a_house_whose_ages_cannot_be_read_goes_on(
    house: DiscordHouse, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "checkpoints" / "tiny" / "base-000000"
    broken.mkdir(parents=True)
    (broken / "age.json").write_text("{")
    async with house.awake() as awake:
        assert await Newcomers(awake.store, tmp_path / "checkpoints").look() == []
    assert "could not be registered" in caplog.text
