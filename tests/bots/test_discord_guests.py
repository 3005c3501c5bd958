"""Guests speak through one webhook of the registrar: once, in order, and under their own names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bots import settings, streaming
from bots.checkup import examine
from bots.discord_api import Endpoints, pointed_at
from memory import states
from memory.store import open_store
from tests.bots.discord_house import SHORT, DiscordHouse, end_when_seen, eventually, open_house
from tests.discord_double.state import MANAGE_WEBHOOKS

HOOK = r"/webhooks/\d+/webhook-secret-\d+"
GUEST = {"name": "Elder", "address": "tiny@chat-000008", "sampling": SHORT}


@pytest.fixture
async def house(tmp_path: Path, serving_url: str) -> AsyncIterator[DiscordHouse]:
    async with open_house(tmp_path, serving_url) as opened:
        opened.double.allow(opened.registrar, MANAGE_WEBHOOKS)
        cast = opened.cast()
        ember = {**GUEST, "name": "Ember", "token": "TOKEN_EMBER"}
        opened.selves.pop("Spark")
        meeting = {"name": "meeting", "cast": ["Ember", "Elder"], "opening": "Hi!", "max_turns": 4}
        opened.extra = {
            "discord": {**cast.discord.model_dump(), "guests": True},
            "persona": [ember, GUEST],
            "scene": [meeting],
        }
        yield opened


def said_by(house: DiscordHouse, name: str) -> list[str]:
    return [m.content for m in house.room.messages.values() if m.author.name == name]


async def test_a_guest_answers_by_name_and_plays_in_scenes(house: DiscordHouse) -> None:
    async with house.awake() as awake:
        house.anna.post(house.room, "Elder, how are you?")
        await house.double.until(lambda: said_by(house, "Elder"))
        await awake.settled()
        house.anna.invoke(house.registrar, house.room, "scene", name="meeting")
        await house.double.until(lambda: len(said_by(house, "Elder")) == 3)
        await house.double.until(lambda: len(house.said("Ember")) == 2)
        kept = await awake.settled()
    assert [m.text for m in kept if m.speaker == "Elder"] == said_by(house, "Elder")
    assert len({m.platform_id for m in kept}) == len(kept)
    assert len(house.double.rest.webhooks.all) == 1


@pytest.mark.parametrize(
    "fault", [{"status": 502, "applied": True}, {"status": 503}, {"applied": True, "drop": True}]
)
async def test_a_guests_line_whose_receipt_was_lost_is_posted_once(
    house: DiscordHouse, fault: dict[str, object]
) -> None:
    met = house.double.fail("POST", HOOK, **fault)
    async with house.awake() as awake:
        house.anna.post(house.room, "Elder, how are you?")
        await house.double.until(lambda: met.met and said_by(house, "Elder"))
        kept = await awake.settled()
    posted = [m for m in house.room.messages.values() if m.author.name == "Elder"]
    assert [m.platform_id for m in kept if m.speaker == "Elder"] == [m.id for m in posted]
    assert len(posted) == 1


async def test_a_guests_answer_is_seen_growing_while_the_registrar_types(
    house: DiscordHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "PAUSE_S", 0.0)
    end_when_seen(monkeypatch, house)
    async with house.awake() as awake:
        await settings.change_place(awake.store, house.place, "stream", "on")
        await awake.until_caught_up()
        torso = house.double.fail("PATCH", rf"{HOOK}/messages/\d+", status=503)
        house.anna.post(house.room, "Elder, how are you?")
        await house.double.until(lambda: said_by(house, "Elder"))

        async def whole() -> bool:
            return len(await awake.settled()) == 2

        await eventually(whole)
        [_, kept] = await awake.settled()
    assert said_by(house, "Elder") == [kept.text]
    assert torso.met
    assert house.double.requests("POST", "/typing", by=house.registrar)


async def test_what_a_guest_left_half_said_is_taken_back_and_nothing_else(house: DiscordHouse) -> None:
    async with house.awake() as awake:
        house.anna.post(house.room, "Elder, how are you?")
        await house.double.until(lambda: said_by(house, "Elder"))
        await awake.settled()
    [hook] = house.double.rest.webhooks.all.values()
    asked = house.anna.post(house.room, "Elder, and now?")
    rest = house.double.rest.webhooks.post(hook, {"username": "Elder"}, "the rest of a long answer")
    torso = house.double.rest.webhooks.post(hook, {"username": "Elder"}, "I thi ▌")
    async with open_store(house.database_url) as store:
        note = {"account": "Elder", "reply_to": str(asked.id)}
        await states.put(store, f"growing:{house.place}", note)
    async with house.awake() as awake:
        await house.double.until(lambda: torso.id not in house.room.messages)
        await house.double.until(lambda: len(said_by(house, "Elder")) == 3)
        await awake.settled()
    assert rest.id in house.room.messages


async def test_a_webhook_that_was_deleted_is_made_anew_and_a_storm_of_429s_is_waited_out(
    house: DiscordHouse,
) -> None:
    async with house.awake() as awake:
        house.anna.post(house.room, "Elder, how are you?")
        await house.double.until(lambda: len(said_by(house, "Elder")) == 1)
        house.double.rest.webhooks.all.clear()
        storm = house.double.fail("POST", HOOK, status=429, times=3)
        house.anna.post(house.room, "And now, Elder?")
        await house.double.until(lambda: len(said_by(house, "Elder")) == 2)
        await awake.settled()
        assert storm.met == 3
        assert awake.fleet.breaker.refusals == 3


async def test_the_checkup_asks_for_the_permission_that_guests_need(house: DiscordHouse) -> None:
    house.registrar.user.permissions &= ~MANAGE_WEBHOOKS
    endpoints = Endpoints.from_environment(house.double.environment)
    with pointed_at(endpoints):
        registrar, *_ = await examine(house.cast(), house.environment(), endpoints)
    assert any("manage webhooks" in problem for problem in registrar.problems)
