"""Scenes on Discord: scheduled or asked for, in the same tables as all else, and stopped by a raised hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bots.discord_channel import place_of
from bots.schedule import Occurrence, Timetable
from memory.store import open_store
from selves.cast import SceneSpec, Schedule
from tests.bots.discord_house import POSTS, DiscordHouse, eventually, far_off, open_house
from tests.bots.test_discord_faults import Wire
from tests.discord_double.state import MANAGE_MESSAGES


@pytest.fixture
async def house(tmp_path: Path, serving_url: str) -> AsyncIterator[DiscordHouse]:
    async with open_house(tmp_path, serving_url) as opened:
        yield opened


async def test_a_scheduled_scene_is_played_once_and_kept_like_all_else(house: DiscordHouse) -> None:
    schedule = Schedule(scene="meeting", cron=far_off(), channel=house.room.id)
    house.extra = {"schedule": [schedule.model_dump()]}
    at = datetime.now(UTC)
    async with house.awake() as awake:
        await awake.fleet.timetable.fire(schedule, at)
        await awake.fleet.timetable.fire(schedule, at)
        await eventually(lambda: ended(awake, "meeting"))
        mention = house.double.mention(house.selves["Ember"])
        house.anna.post(house.room, f"{mention} that was nice")
        await house.until_said(5)
        await awake.settled()
        [scene] = [s for s in await awake.store.scenes(place=house.place) if s.name == "meeting"]
        messages = await awake.store.messages(scene.id)
    assert scene.key == Occurrence(at, schedule).key
    assert scene.stop_reason == "max_turns"
    assert [m.origin for m in messages] == ["operator", "self", "self", "self", "self"]
    posted = list(house.room.messages.values())
    assert [m.content for m in posted][:5] == [m.text for m in messages]
    assert [m.id for m in posted][:5] == [m.platform_id for m in messages]
    assert [m.author.name for m in posted][:5] == ["House", *(m.speaker for m in messages[1:])]


async def ended(awake: object, name: str) -> bool:
    scenes = await awake.store.scenes(place=awake.house.place, status="ended")  # type: ignore[attr-defined]
    return name in [scene.name for scene in scenes]


async def test_two_bots_do_not_go_on_when_the_scene_is_over(house: DiscordHouse) -> None:
    async with house.awake() as awake:
        awake.fleet.rooms[house.room.id].play_soon(house.cast().find_scene("meeting"), "command:1")
        await eventually(lambda: ended(awake, "meeting"))
        # had anybody begun to answer a bot, it would be kept before this question is
        house.anna.post(house.room, f"{house.double.mention(house.selves['Spark'])} hello")
        await house.until_said(5)
        messages = await awake.settled()
    assert len(messages) == 7
    assert [m.speaker for m in messages if m.scene_id == messages[0].scene_id] == ["guest-1", "Spark"]


async def test_people_can_join_a_scene(house: DiscordHouse) -> None:
    async with house.awake() as awake:
        awake.fleet.rooms[house.room.id].play_soon(house.cast().find_scene("endless"), "command:1")
        await house.until_said(2)
        house.anna.post(house.room, "Spark, may I join?")

        async def answered() -> bool:
            [scene] = [s for s in await awake.store.scenes(place=house.place) if s.name == "endless"]
            speakers = [m.speaker for m in await awake.store.messages(scene.id)]
            return "guest-1" in speakers and "Spark" in speakers[speakers.index("guest-1") :]

        await eventually(answered)
        awake.fleet.rooms[house.room.id].halt()
        await eventually(lambda: ended(awake, "endless"))


@pytest.mark.parametrize("how", ["/halt", "✋"])
async def test_a_person_can_stop_a_scene(house: DiscordHouse, how: str) -> None:
    async with house.awake() as awake:
        begun = house.anna.invoke(house.registrar, house.room, "scene", name="endless")
        first = (await house.until_said(1))[0]
        if how == "/halt":
            halt = house.anna.invoke(house.registrar, house.room, "halt")
            await house.double.until(lambda: halt.answers)
        else:
            house.anna.react(first, "✋")
        await eventually(lambda: ended(awake, "endless"))
        messages = await awake.settled()
        scene = await awake.store.scene(messages[0].scene_id)
        said = len(house.said())
        house.anna.post(house.room, f"{house.double.mention(house.selves['Spark'])} thank you")
        await house.until_said(said + 1)
    assert begun.answers == ["`endless` begins."]
    assert scene.stop_reason == "halted"
    assert said < 20


async def test_an_answer_that_is_being_drawn_is_not_posted_after_a_halt(house: DiscordHouse) -> None:
    spark = house.selves["Spark"]
    long = {"max_tokens": 200, "temperature": 1.0}
    spark_alone = {"name": "Spark", "address": "tiny@base-000000", "token": "TOKEN_SPARK", "sampling": long}
    house.extra = {"persona": [spark_alone], "scene": []}
    del house.selves["Ember"]
    wire = Wire(house.serving_url)
    async with wire.open() as house.serving_url, house.awake() as awake:
        await awake.until_caught_up()
        wire.free.clear()
        asked = house.anna.post(house.room, f"{house.double.mention(spark)} hello")
        await house.double.until(lambda: house.double.requests("POST", "/typing", by=spark))
        house.anna.react(asked, "✋")

        async def halted() -> bool:
            return awake.fleet.rooms[house.room.id].channel.halted()

        await eventually(halted)
        wire.free.set()

        async def thought() -> bool:
            [scene] = await awake.store.scenes(place=house.place)
            return bool(await awake.store.generations(scene.id))

        await eventually(thought)
        messages = await awake.settled()
    assert [m.speaker for m in messages] == ["guest-1"]
    assert house.said() == []
    assert list(asked.reactions) == ["✋"]


async def test_the_slash_commands_tell_what_is_what(house: DiscordHouse) -> None:
    house.extra = {
        "persona": [
            {"name": "Ember", "address": "tiny@chat-000008", "token": "TOKEN_EMBER"},
            {"name": "Spark", "address": "tiny@base-000000", "token": "TOKEN_SPARK"},
            {"name": "Mute", "address": "tiny@base-000016"},
        ],
        "scene": [{"name": "quiet", "cast": ["Ember", "Mute"]}],
    }
    async with house.awake() as awake:
        who, privacy, unknown, mute = (
            house.anna.invoke(house.registrar, house.room, *command)
            if len(command) == 1
            else house.anna.invoke(house.registrar, house.room, command[0], name=command[1])
            for command in (("who",), ("privacy show",), ("scene", "nonsense"), ("scene", "quiet"))
        )
        elsewhere = house.anna.invoke(house.registrar, house.double.add_channel("elsewhere"), "halt")
        completion = house.anna.complete(house.registrar, house.room, "scene", "name", "qu")
        asked = (who, privacy, unknown, mute, elsewhere)
        await house.double.until(lambda: all(i.answers for i in asked) and completion.callback)
        introduction = awake.fleet.introduction()
    assert "**Ember**: `tiny@chat-000008`, here" in who.answers[0]
    assert "**Mute**: `tiny@base-000016`, not on Discord" in who.answers[0]
    assert "30 days" in privacy.answers[0]
    assert "There are: quiet" in unknown.answers[0]
    assert "Mute has no account on Discord" in mute.answers[0]
    assert f"<#{house.room.id}>" in elsewhere.answers[0]
    assert completion.choices == ["quiet"]
    assert "not on board: Mute (no token in the cast file)" in introduction
    assert "scene 'quiet' cannot be played here without Mute" in introduction
    scene = next(c for c in house.registrar.commands if c["name"] == "scene")
    assert int(scene["default_member_permissions"]) == MANAGE_MESSAGES


async def test_a_scene_goes_on_after_a_restart(house: DiscordHouse) -> None:
    async with house.awake() as awake:
        awake.fleet.rooms[house.room.id].play_soon(house.cast().find_scene("meeting"), "command:1")
        await house.until_said(2)
    async with house.awake() as awake:
        await eventually(lambda: ended(awake, "meeting"))
        messages = await awake.settled()
    assert [m.content for m in house.room.messages.values()] == [m.text for m in messages]
    assert len(messages) == 5


async def test_a_scene_goes_on_where_trouble_with_discord_cut_it_off(house: DiscordHouse) -> None:
    spark = house.selves["Spark"]
    async with house.awake() as awake:
        trouble = house.double.fail("POST", POSTS, status=503, times=7, bot=spark)
        awake.fleet.rooms[house.room.id].play_soon(house.cast().find_scene("meeting"), "command:1")
        await eventually(lambda: ended(awake, "meeting"))
        messages = await awake.settled()
    assert trouble.times == 0
    assert [m.content for m in house.room.messages.values()] == [m.text for m in messages]
    assert len(messages) == 5


# ---------------------------------------------------------------- the timetable


async def test_after_a_pause_the_newest_occurrence_is_played_if_the_schedule_says_so(
    house: DiscordHouse,
) -> None:
    noon = datetime(2026, 5, 10, 12, 0, tzinfo=UTC)
    latest = Schedule(scene="meeting", cron="0 * * * *", channel=house.room.id, catch_up="latest")
    skip = latest.model_copy(update={"scene": "endless", "catch_up": "skip"})
    house.extra = {"schedule": [latest.model_dump(), skip.model_dump()]}
    asked: list[tuple[int, str, str]] = []

    def play(channel_id: int, spec: SceneSpec, key: str) -> None:
        asked.append((channel_id, spec.name, key))

    async with open_store(house.database_url) as store:

        async def wake(now: datetime) -> list[str]:
            asked.clear()
            timetable = Timetable(house.cast(), store, play, lambda: now)
            await timetable.start()
            timetable.stop()
            return [key for _, _, key in asked]

        assert await wake(noon) == [], "a new schedule has missed nothing"
        for schedule in (latest, skip):
            spec = house.cast().find_scene(schedule.scene)
            place = place_of(house.room.id)
            scene = await store.begin_scene(spec, place=place, key=Occurrence(noon, schedule).key)
            await store.end_scene(scene.id, "max_turns")
        assert await wake(noon + timedelta(minutes=59)) == []
        missed = Occurrence(noon + timedelta(hours=3), latest).key
        assert await wake(noon + timedelta(hours=3, minutes=30)) == [missed]


async def test_what_the_machine_slept_through_follows_the_same_rule(
    house: DiscordHouse,
) -> None:
    noon = datetime(2026, 5, 10, 12, 0, tzinfo=UTC)
    asked: list[str] = []

    def play(channel_id: int, spec: SceneSpec, key: str) -> None:
        asked.append(key)

    async with open_store(house.database_url) as store:
        schedules = [
            Schedule(scene="meeting", cron="0 * * * *", channel=house.room.id, catch_up=policy)
            for policy in ("skip", "latest")
        ]
        skip, latest = schedules

        async def fire_when_it_is(now: datetime) -> list[str]:
            asked.clear()
            timetable = Timetable(house.cast(), store, play, lambda: now)
            for schedule in schedules:
                await timetable.fire(schedule, noon)
            return list(asked)

        in_time = await fire_when_it_is(noon + timedelta(seconds=2))
        much_later = await fire_when_it_is(noon + timedelta(hours=2, minutes=5))
    assert in_time == [Occurrence(noon, skip).key, Occurrence(noon, latest).key]
    assert much_later == [Occurrence(noon + timedelta(hours=2), latest).key]
