"""The cast file is changed while the selves are on Discord: who is new comes, who is gone goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bots.reading import Company, Reader, read_company
from selves.cast import Cast
from selves.errors import UsageError
from selves.files import write_file
from selves.settings import House
from tests.bots.discord_house import HASTY, DiscordHouse, eventually, far_off, open_house
from tests.bots.test_discord_crash import bots

PERSONA = '[[persona]]\nname = "{name}"\naddress = "tiny@base-000000"\ntoken = "TOKEN_{variable}"\n'


@pytest.fixture
async def house(tmp_path: Path, serving_url: str) -> AsyncIterator[DiscordHouse]:
    async with open_house(tmp_path, serving_url) as opened:
        yield opened


def write_cast(path: Path, *names: str, channel: int = 1) -> None:
    head = f'[discord]\nregistrar_token = "TOKEN_REGISTRAR"\nchannels = [{channel}]\nnotice = false\n'
    personas = [PERSONA.format(name=name, variable=name.upper()) for name in names]
    write_file(path / "selves.toml", head + "\n".join(personas))


def house_at(path: Path) -> House:
    return House(home=path, cast_path=path / "selves.toml")


async def test_who_is_written_into_the_cast_file_joins_without_a_restart(house: DiscordHouse) -> None:
    spark, ember = house.selves.pop("Spark"), house.selves["Ember"]
    write_cast(house.path, "Ember", channel=house.room.id)
    async with bots(house, "run"):
        await house.double.until(lambda: house.double.is_online(house.registrar, ember))
        write_file(house.path / ".env", f"TOKEN_SPARK={spark.token}\n")
        write_cast(house.path, "Ember", "Spark", channel=house.room.id)
        await house.double.until(lambda: house.double.is_online(spark))
        house.selves["Spark"] = spark
        asked = house.anna.post(house.room, f"{house.double.mention(spark)} hello")
        [answer] = await house.until_said(1, "Spark")
        assert answer.reply_to_id == asked.id
        write_cast(house.path, "Spark", channel=house.room.id)
        await house.double.until(lambda: not house.double.is_online(ember))
        assert house.double.is_online(house.registrar, spark)


async def test_who_stays_keeps_the_connection_and_who_goes_gives_the_lease_back(house: DiscordHouse) -> None:
    house.extra = {"scene": []}
    async with house.awake() as awake:
        ember = house.double.gateway.session_of(house.selves["Ember"])
        spark = house.selves.pop("Spark")
        await awake.fleet.take(Company(house.cast(), house.environment()))
        await house.double.until(lambda: not house.double.is_online(spark))

        async def spark_may_run_elsewhere() -> bool:
            return awake.fleet.processes.mine == {"registrar", "self:Ember"}

        await eventually(spark_may_run_elsewhere)
        assert house.double.gateway.session_of(house.selves["Ember"]) is ember
        assert list(awake.fleet.speakers) == ["Ember"]


async def test_another_registrar_listens_without_a_restart(house: DiscordHouse) -> None:
    ember, former = house.selves["Ember"], house.registrar
    async with house.awake() as awake:
        await awake.until_caught_up()
        session = house.double.gateway.session_of(ember)
        house.registrar = house.double.add_bot("Other registrar", message_content=True)
        await awake.fleet.take(Company(house.cast(), house.environment()))
        await house.double.until(
            lambda: house.double.is_online(house.registrar) and not house.double.is_online(former)
        )
        asked = house.anna.post(house.room, f"{house.double.mention(ember)} hello")
        [answer] = await house.until_said(1, "Ember")
        assert answer.reply_to_id == asked.id
        assert house.double.gateway.session_of(ember) is session


async def test_a_registrar_whose_token_is_refused_comes_with_the_next_one_at_once(
    house: DiscordHouse,
) -> None:
    house.tokens = {"TOKEN_REGISTRAR": "wrong"}
    async with house.awake(wait=False, pauses=HASTY._replace(refused_s=10**6, longest_s=10**6)) as awake:
        await awake.fleet.registrar.tried.wait()
        house.tokens = {}
        await awake.fleet.take(Company(house.cast(), house.environment()))
        await house.double.until(lambda: house.double.is_online(house.registrar))


async def test_a_self_speaks_as_another_age_and_a_new_schedule_counts(house: DiscordHouse) -> None:
    async with house.awake() as awake:
        grown = house.cast().model_dump()
        grown["persona"][1]["address"] = "tiny@chat-000008"
        grown["schedule"] = [{"scene": "meeting", "cron": far_off(), "channel": house.room.id}]
        cast = Cast.model_validate(grown)
        await awake.fleet.take(Company(cast, house.environment()))
        house.anna.post(house.room, f"{house.double.mention(house.selves['Spark'])} hello")
        await house.until_said(1, "Spark")
        kept = await awake.settled()
        assert [m.address for m in kept if m.speaker == "Spark"] == ["tiny@chat-000008"]

        async def the_timetable_is_new() -> bool:
            return awake.fleet.timetable.cast is cast

        await eventually(the_timetable_is_new)


async def test_another_channel_is_listened_to_and_a_former_one_no_more(house: DiscordHouse) -> None:
    other = house.double.add_channel("attic")
    async with house.awake() as awake:
        await awake.until_caught_up()
        moved = house.cast().model_dump()
        moved["discord"]["channels"] = [other.id]
        await awake.fleet.take(Company(Cast.model_validate(moved), house.environment()))
        mention = house.double.mention(house.selves["Ember"])
        house.anna.post(house.room, f"{mention} are you here?")
        asked = house.anna.post(other, f"{mention} or are you there?")
        await house.double.until(lambda: [m for m in other.messages.values() if m.reply_to_id == asked.id])
        assert awake.fleet.rooms.channels == [other.id]
    assert house.said() == []


async def test_a_cast_that_cannot_be_run_changes_nothing(house: DiscordHouse) -> None:
    async with house.awake() as awake:
        before = awake.fleet.cast
        nowhere = before.model_copy(update={"discord": before.discord.model_copy(update={"channels": ()})})
        with pytest.raises(UsageError, match="no channel"):
            await awake.fleet.take(Company(nowhere, house.environment()))
        assert awake.fleet.cast is before
        assert house.double.is_online(house.registrar, *house.selves.values())


@asynccontextmanager
async def followed(path: Path) -> AsyncIterator[asyncio.Queue[Company]]:
    """Companies as they are read from this folder while the block runs."""
    house = house_at(path)
    taken: asyncio.Queue[Company] = asyncio.Queue()
    following = asyncio.create_task(Reader(house, read_company(house), look_s=0.001).follow(taken.put))
    try:
        yield taken
    finally:
        following.cancel()
        await asyncio.wait([following])


async def test_a_cast_file_with_a_mistake_is_left_out_until_it_is_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_cast(tmp_path, "Ember")
    async with followed(tmp_path) as taken:
        write_file(tmp_path / "selves.toml", "[[persona]\n")

        async def it_is_said() -> bool:
            return "the cast stays as it was" in caplog.text

        await eventually(it_is_said)
        write_file(tmp_path / ".env", "TOKEN_SPARK=secret\n")
        write_cast(tmp_path, "Ember", "Spark")
        company = await taken.get()
    assert [p.name for p in company.cast.persona] == ["Ember", "Spark"]
    assert company.tokens["TOKEN_SPARK"] == "secret"
    assert "secret" not in caplog.text


async def test_a_self_whose_age_is_marked_is_so_though_the_cast_forgot_it(
    tmp_path: Path, checkpoints: Path
) -> None:
    card = json.loads((checkpoints / "tiny" / "base-000000" / "age.json").read_text())
    folder = tmp_path / "checkpoints" / "tiny" / "base-000000"
    folder.mkdir(parents=True)
    write_file(folder / "age.json", json.dumps({**card, "age_restricted": True}))
    write_file(folder / "model.safetensors", "")
    write_cast(tmp_path, "Ember")
    assert read_company(house_at(tmp_path)).cast.persona[0].age_restricted
