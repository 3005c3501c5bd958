"""What breaks beside Discord's answers: a slow engine, a cut wire, a full disk; and all that at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import event

from app.line import about
from bots.status import lines, read_status
from memory.store import Store, open_store
from selves.cast import SceneSpec
from tests.bots.discord_house import POSTS, DiscordHouse, eventually, open_house
from tests.memory.parts import utterance


@pytest.fixture
async def house(tmp_path: Path, serving_url: str) -> AsyncIterator[DiscordHouse]:
    async with open_house(tmp_path, serving_url) as opened:
        yield opened


class Wire:
    """A wire to the engine that can be held, so that nothing comes through, or cut."""

    def __init__(self, url: str) -> None:
        self._to = urlsplit(url)
        self.free = asyncio.Event()
        self.free.set()
        self.used = asyncio.Event()
        self._ends: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            self.cut()
            server.close()

    def cut(self) -> None:
        for end in self._ends:
            end.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._to.hostname
        there, back = await asyncio.open_connection(self._to.hostname, self._to.port)
        self._ends |= {writer, back}
        await asyncio.gather(self._carry(reader, back), self._carry(there, writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.used.set()
                await self.free.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


async def test_while_the_engine_is_slow_people_are_heard_and_then_answered_once(house: DiscordHouse) -> None:
    ember, wire = house.selves["Ember"], Wire(house.serving_url)
    async with wire.open() as house.serving_url, house.awake() as awake:
        await awake.until_caught_up()
        wire.free.clear()
        house.anna.post(house.room, f"{house.double.mention(ember)} hello")
        await house.double.until(lambda: house.double.requests("POST", "/typing", by=ember))
        house.double.add_human("Berta").post(house.room, "is it thinking?")

        async def both_heard() -> bool:
            return len([m for m in await awake.kept() if m.human]) == 2

        await eventually(both_heard)
        assert house.said() == []
        wire.free.set()
        await house.until_said(1)
        messages = await awake.settled()
    assert [m.speaker for m in messages] == ["guest-1", "guest-2", "Ember"]


async def test_an_engine_whose_connection_breaks_is_asked_again(house: DiscordHouse) -> None:
    ember, wire = house.selves["Ember"], Wire(house.serving_url)
    async with wire.open() as house.serving_url, house.awake() as awake:
        await awake.until_caught_up()
        wire.free.clear()
        wire.used.clear()
        house.anna.post(house.room, f"{house.double.mention(ember)} hello")
        await wire.used.wait()
        wire.cut()
        wire.free.set()
        await house.until_said(1)
        messages = await awake.settled()
    assert [m.speaker for m in messages] == ["guest-1", "Ember"]
    assert len(house.said()) == 1


@contextmanager
def full_disk(store: Store) -> Iterator[None]:
    """The database can grow no more while the block runs."""
    most_pages = 1

    def limit(connection: Any, *_: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA max_page_count = {most_pages}")
        cursor.close()

    event.listen(store.engine.sync_engine, "checkout", limit)
    try:
        yield
    finally:
        most_pages = 2**32 - 2


async def test_on_a_full_disk_nothing_is_posted_and_later_all_is_answered_once(
    house: DiscordHouse, caplog: pytest.LogCaptureFixture
) -> None:
    mention = house.double.mention(house.selves["Ember"])
    async with house.awake() as awake:
        await awake.until_caught_up()
        with full_disk(awake.store):
            # more than fits into what is free within the file
            for number in range(4):
                house.anna.post(house.room, f"{number} {'long ' * 390}")
            house.anna.post(house.room, f"{mention} hello")

            async def told() -> bool:
                return "the disk is full" in caplog.text

            await eventually(told)
            assert house.said() == []
        await house.until_said(1)

        async def all_heard() -> bool:
            return sum(m.human for m in await awake.kept()) == 5

        await eventually(all_heard)
        messages = await awake.settled()
    assert sorted(m.speaker for m in messages) == ["Ember", *["guest-1"] * 5]
    assert len(house.said()) == 1


async def test_an_answer_that_could_not_be_kept_is_drawn_again_when_it_can(
    house: DiscordHouse, caplog: pytest.LogCaptureFixture
) -> None:
    ember, wire = house.selves["Ember"], Wire(house.serving_url)
    async with wire.open() as house.serving_url, house.awake() as awake:
        await awake.until_caught_up()
        wire.free.clear()
        house.anna.post(house.room, f"{house.double.mention(ember)} {'long ' * 390}")
        await house.double.until(lambda: house.double.requests("POST", "/typing", by=ember))
        with full_disk(awake.store):
            for number in range(4):
                house.anna.post(house.room, f"{number} {'long ' * 390}")

            async def told() -> bool:
                return "the disk is full" in caplog.text

            await eventually(told)
            caplog.clear()
            wire.free.set()
            await eventually(told)
            assert house.said() == []
        await house.until_said(1)
        messages = await awake.settled()
    assert [m.speaker for m in messages if m.address] == ["Ember"]
    assert len(house.said()) == 1


@pytest.mark.parametrize(("status", "code"), [(400, 50035), (403, 200000)])
async def test_what_discord_refuses_for_good_is_given_up_once_and_keeps_nothing_else_back(
    house: DiscordHouse, status: int, code: int
) -> None:
    ember = house.selves["Ember"]
    no = {"code": code, "message": "Not that"}
    house.double.fail("POST", POSTS, bot=ember, status=status, body=no, times=1_000_000)
    async with open_store(house.database_url) as store:
        spec = SceneSpec(name="channel", cast=("Guests", "Ember", "Spark"))
        scene = await store.begin_scene(spec, place=house.place, key=f"channel:{house.place}")
        for name in ("Ember", "Spark"):
            line = utterance(f"I am {name}.")
            await store.keep_turn(scene.id, speaker=name, utterances=[line], chosen=0)

        async def nothing_is_left() -> bool:
            return not await store.unposted()

        async with house.awake():
            await eventually(nothing_is_left)
        async with house.awake() as again:
            await again.until_caught_up()
        told = [line for _, line in lines(await read_status(store))]
        first, second = await store.messages(scene.id)
    assert [m.content for m in house.said()] == ["I am Spark."]
    assert len(house.double.requests("POST", "/messages", by=ember)) == 1
    assert [(m.text, m.status) for m in (first, second)] == [
        ("I am Ember.", "undelivered"),
        ("I am Spark.", "posted"),
    ]
    assert "never posted" in about(first, [], unread=False)
    assert any("Ember, message 1: " in line and "Not that" in line for line in told)


@pytest.mark.parametrize(
    "body",
    [
        {"code": 20016, "message": "This action cannot be performed due to slowmode rate limit"},
        {"code": 40004, "message": "Send messages has been temporarily disabled"},
        {"message": "the gatekeeper has no code"},
    ],
    ids=["slow mode", "disabled for now", "no code"],
)
async def test_what_is_refused_for_a_while_is_tried_until_it_stands(
    house: DiscordHouse, body: dict[str, object]
) -> None:
    ember = house.selves["Ember"]
    house.double.fail("POST", POSTS, bot=ember, status=403, body=body, times=2)
    async with house.awake() as awake:
        await awake.until_caught_up()
        house.anna.post(house.room, f"{house.double.mention(ember)} hello")
        await house.until_said(1)
        messages = await awake.settled()
    assert [(m.speaker, m.status) for m in messages] == [("guest-1", "posted"), ("Ember", "posted")]
    assert len(house.said()) == 1


async def test_a_scene_goes_on_without_a_line_that_discord_refuses_and_nobody_answers_it(
    house: DiscordHouse,
) -> None:
    no = {"code": 200000, "message": "Message was blocked by automatic moderation"}
    house.double.fail("POST", POSTS, bot=house.selves["Spark"], status=400, body=no, times=1)
    async with house.awake() as awake:
        await awake.until_caught_up()
        awake.fleet.rooms[house.room.id].play_soon(house.cast().find_scene("meeting"), "command:1")

        async def over() -> bool:
            return any(s.name == "meeting" and s.status == "ended" for s in await awake.store.scenes())

        await eventually(over)
        (scene,) = await awake.store.scenes(name="meeting")
        said = await awake.store.messages(scene.id)
        samples = await awake.store.generations(scene.id)
    lost = [m for m in said if m.status == "undelivered"]
    assert [m.speaker for m in lost] == ["Spark"]
    assert [m.content for m in house.said()] == [m.text for m in said if m.address and m not in lost]
    assert not any(lost[0].id in sample.prompt.message_ids for sample in samples if sample.prompt)


async def test_who_is_told_to_reconnect_misses_nothing(house: DiscordHouse) -> None:
    ember = house.selves["Ember"]
    async with house.awake() as awake:
        await awake.until_caught_up()
        house.double.reconnect(house.registrar)
        house.double.reconnect(ember)
        house.anna.post(house.room, f"{house.double.mention(ember)} hello")
        await house.until_said(1)
        messages = await awake.settled()
    assert [m.speaker for m in messages] == ["guest-1", "Ember"]


async def test_in_a_bad_hour_every_question_is_kept_and_answered_once(house: DiscordHouse) -> None:
    ember, spark = house.selves.values()
    house.double.limit("POST", POSTS, 2, 0.1)
    async with house.awake() as awake:
        await awake.until_caught_up()
        for number in range(6):
            somebody = house.double.add_human(f"Person{number}")
            bot = (ember, spark)[number % 2]
            somebody.post(house.room, f"{house.double.mention(bot)} number {number}")
            if number < 3:
                status = (502, 429, 503)[number]
                house.double.fail("POST", POSTS, bot=bot, status=status, applied=number == 0)
            if number == 2:
                house.double.drop(house.registrar)
            if number == 4:
                house.double.drop(spark)
                house.double.forget(house.registrar)
        await house.until_said(6)
        messages = await awake.settled()
    asked = [m.id for m in messages if m.human]
    assert len(asked) == 6
    assert sorted(m.reply_to or 0 for m in messages if not m.human) == asked
    assert len(house.said()) == 6
