"""Selves in several processes: each answers once, one process listens, another takes over when it dies."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from bots.processes import is_dead, this_process
from bots.status import read_status
from memory import states
from memory.models import LeaseRow
from selves.errors import DiscordError
from selves.speech import Utterance
from serving.voice import Voice
from tests.bots.discord_house import DiscordHouse, eventually, open_house
from tests.bots.test_discord_crash import bots, write_cast


@pytest.fixture
async def house(tmp_path: Path, serving_url: str) -> AsyncIterator[DiscordHouse]:
    async with open_house(tmp_path, serving_url) as opened:
        write_cast(opened)
        yield opened


async def test_selves_of_two_processes_answer_once_each_and_play_scenes_together(house: DiscordHouse) -> None:
    spark, ember = house.selves["Spark"], house.selves["Ember"]
    async with AsyncExitStack() as awake_ones:
        one = await awake_ones.enter_async_context(house.awake(only=["Ember"], process="one", wait=False))
        await house.double.until(lambda: house.double.is_online(house.registrar))
        two = await awake_ones.enter_async_context(house.awake(only=["Spark"], process="two"))

        async def they_know_each_other() -> bool:
            spoken_for = one.fleet.speakers.get("Spark")
            return spoken_for is not None and spoken_for.online.is_set()

        await eventually(they_know_each_other)
        assert [awake.fleet.processes.mine for awake in (one, two)] == [
            {"registrar", "self:Ember"},
            {"self:Spark"},
        ]
        # answers that grow are for selves of the own process; the other's come whole
        await states.put(one.store, f"place:{house.place}", {"stream": True})
        asked = house.anna.post(house.room, f"{house.double.mention(spark)} {house.double.mention(ember)} hi")
        answers = await house.until_said(2)
        assert {(m.author, m.reply_to_id) for m in answers} == {
            (spark.user, asked.id),
            (ember.user, asked.id),
        }
        await one.settled()
        house.anna.invoke(house.registrar, house.room, "scene", name="meeting")

        async def it_is_over() -> bool:
            scenes = await two.store.scenes(place=house.place)
            return any(scene.name == "meeting" and scene.status == "ended" for scene in scenes)

        await eventually(it_is_over)
        kept = await one.settled()
        status = await read_status(two.store)
    # the order in the channel is the order that was kept, whoever posted
    said = [m.content for m in house.said()]
    assert [m.text for m in kept if m.address] == said
    assert [(p.leads, [s.name for s in p.selves if s.runs]) for p in status.processes] == [
        (True, ["Ember"]),
        (False, ["Spark"]),
    ]


async def test_a_self_of_another_process_is_seen_typing_while_it_thinks(
    house: DiscordHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    spark = house.selves["Spark"]
    stream = Voice.stream

    async def stream_until_seen(*arguments: Any, **options: Any) -> AsyncIterator[str | Utterance]:
        await house.double.until(lambda: house.double.requests("POST", "/typing", by=spark))
        async for piece in stream(*arguments, **options):
            yield piece

    monkeypatch.setattr(Voice, "stream", stream_until_seen)
    async with (
        house.awake(only=["Ember"], process="one", wait=False) as one,
        house.awake(only=["Spark"], process="two"),
    ):

        async def they_know_each_other() -> bool:
            spoken_for = one.fleet.speakers.get("Spark")
            return spoken_for is not None and spoken_for.online.is_set()

        await eventually(they_know_each_other)
        house.anna.post(house.room, f"{house.double.mention(spark)} hello")
        assert len(await house.until_said(1, "Spark")) == 1


async def test_when_the_process_that_listens_is_killed_another_takes_over(house: DiscordHouse) -> None:
    async with bots(house, "run", "--only", "Ember") as process:
        await house.double.until(lambda: house.double.is_online(house.registrar, house.selves["Ember"]))
        async with house.awake(only=["Spark"], process="two", wait=False) as two:
            await house.double.until(lambda: house.double.is_online(house.selves["Spark"]))
            assert two.fleet.processes.mine == {"self:Spark"}
            old = house.double.gateway.session_of(house.registrar)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            await house.double.until(
                lambda: house.double.gateway.session_of(house.registrar) not in (None, old)
            )
            house.anna.post(house.room, f"{house.double.mention(house.selves['Spark'])} hello")
            assert len(await house.until_said(1)) == 1
            assert two.fleet.speakers["Spark"] is two.fleet.own["Spark"]


async def test_who_loses_the_lead_stops_listening(house: DiscordHouse) -> None:
    async with house.awake(only=["Ember"], process="one", wait=False) as one:
        await house.double.until(lambda: house.double.is_online(house.registrar, house.selves["Ember"]))

        async def give(**values: object) -> None:
            async with one.store.writing() as session:
                lease = update(LeaseRow).where(LeaseRow.name == "registrar")
                await session.execute(lease.values(**values))

        # as after a long sleep of the machine: the lease had ended, and somebody else took it
        now = datetime.now(UTC)
        await give(holder="two", until=now + timedelta(hours=1))
        await house.double.until(lambda: not house.double.is_online(house.registrar))
        assert house.double.is_online(house.selves["Ember"])
        # it is never renewed, so it ends
        await give(until=now)
        await house.double.until(lambda: house.double.is_online(house.registrar))


async def test_what_is_on_discord_already_is_not_started_again(house: DiscordHouse) -> None:
    async with house.awake(process="one") as one:
        from bots.fleet import Fleet

        again = Fleet(house.cast(), one.store, None, house.environment(), process="two")  # type: ignore[arg-type]
        with pytest.raises(DiscordError, match=r"on Discord already \(one\)"):
            await again.run()
        assert [p.name for p in (await read_status(one.store)).processes] == ["one"]
    async with house.awake(process="three"):
        pass


async def test_a_process_of_this_machine_is_known_to_be_dead_at_once() -> None:
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()
    host = this_process().partition("/")[0]
    assert is_dead(f"{host}/{process.pid}/abc")
    assert not is_dead(f"{host}/1/abc")
    assert not is_dead(f"another-{host}/{process.pid}/abc")
