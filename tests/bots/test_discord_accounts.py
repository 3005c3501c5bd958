"""Each account stands alone: a refused token or intent stops one; and no token is ever in the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from bots.account import Account
from bots.checkup import examine
from bots.discord_api import Endpoints, HideSecrets, pointed_at
from bots.fleet import check
from bots.speaker import Speaker
from selves.errors import UsageError
from tests.bots.discord_house import HASTY, DiscordHouse, LogLines, open_house
from tests.discord_double.state import READ_MESSAGE_HISTORY, SEND_MESSAGES


@pytest.fixture
async def house(tmp_path: Path, serving_url: str) -> AsyncIterator[DiscordHouse]:
    async with open_house(tmp_path, serving_url) as opened:
        yield opened


async def test_a_refused_token_stops_only_its_own_self(
    house: DiscordHouse, caplog: pytest.LogCaptureFixture
) -> None:
    house.tokens = {"TOKEN_SPARK": "MTA1.wrong.secretsecretsecret"}
    async with house.awake(wait=False) as awake:
        await house.double.until(lambda: house.double.is_online(house.registrar, house.selves["Ember"]))
        house.anna.post(house.room, f"{house.double.mention(house.selves['Ember'])} hello")
        await house.until_said(1)
        await awake.settled()
        spark = awake.fleet.speakers["Spark"]
        refused = house.anna.invoke(house.registrar, house.room, "scene", name="meeting")
        await house.double.until(lambda: refused.answers)
    assert "Spark is offline: Discord refuses the token in TOKEN_SPARK" in caplog.text
    assert "make a new token in the Developer Portal" in caplog.text
    assert "Spark is offline" in refused.answers[0]
    assert spark.problem


async def test_a_self_comes_back_when_discord_accepts_it_again(house: DiscordHouse) -> None:
    spark = house.selves["Spark"]
    house.double.fail("GET", "/users/@me", status=401, bot=spark, times=3)
    async with house.awake() as awake:
        asked = house.anna.post(house.room, f"{house.double.mention(spark)} hello")
        [answer] = await house.until_said(1)
        await awake.settled()
    assert answer.reply_to_id == asked.id


async def test_a_missing_intent_is_named_and_the_others_stay(
    house: DiscordHouse, caplog: pytest.LogCaptureFixture
) -> None:
    house.registrar.message_content = False
    async with house.awake(wait=False):
        await house.double.until(lambda: house.double.is_online(*house.selves.values()))
        await house.double.until(lambda: "Message Content intent is not switched on" in caplog.text)
        assert house.double.is_online(*house.selves.values())
        house.registrar.message_content = True
        await house.double.until(lambda: house.double.is_online(house.registrar))


async def test_a_fatal_close_code_stops_only_one(house: DiscordHouse) -> None:
    spark = house.selves["Spark"]
    async with house.awake():
        bots = (house.registrar, house.selves["Ember"])
        others = [house.double.gateway.session_of(bot) for bot in bots]
        old = house.double.gateway.session_of(spark)
        house.double.close(spark, 4004)
        await house.double.until(lambda: house.double.gateway.session_of(spark) not in (None, old))
        assert [house.double.gateway.session_of(bot) for bot in bots] == others


async def test_a_client_that_did_not_hear_that_it_is_to_leave_is_told_again(house: DiscordHouse) -> None:
    class Deaf(Speaker):
        async def connect(self, *, reconnect: bool = True) -> None:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.Event().wait()

    token = house.selves["Ember"].token
    pauses = HASTY._replace(goodbye_s=0.01)
    with pointed_at(Endpoints.from_environment(house.double.environment)):
        ember = Account("Ember", "TOKEN_EMBER", token, lambda: Deaf(lambda: None), pauses)
        staying = asyncio.create_task(ember.keep_online())
        await ember.online.wait()
        staying.cancel()
        await asyncio.wait([staying], timeout=600)
    assert staying.cancelled()
    assert not ember.online.is_set()


async def test_no_line_of_the_log_has_a_token_in_it(house: DiscordHouse) -> None:
    lines = LogLines()
    lines.addFilter(HideSecrets([*house.environment().values(), "MTA1.wrong.secretsecretsecret"]))
    house.tokens = {"TOKEN_SPARK": "MTA1.wrong.secretsecretsecret"}
    root = logging.getLogger()
    level = root.level
    root.addHandler(lines)
    root.setLevel(logging.DEBUG)
    try:
        async with house.awake(wait=False) as awake:
            await house.double.until(lambda: house.double.is_online(house.registrar, house.selves["Ember"]))
            house.double.fail("POST", r"/interactions/.*", status=429)
            used = house.anna.invoke(house.registrar, house.room, "who")
            await house.double.until(lambda: used.answers)
            house.double.send_raw(house.registrar, "MESSAGE_CREATE", {"id": "odd"})
            house.anna.post(house.room, f"{house.double.mention(house.selves['Ember'])} hello")
            await house.until_said(1)
            await awake.settled()
    finally:
        root.setLevel(level)
        root.removeHandler(lines)
    secrets = [*house.environment().values()]
    assert len(lines.lines) > 100
    assert [line for line in lines.lines for secret in secrets if secret in line] == []
    assert [line for line in lines.lines if used.token in line] == []
    assert any("[token]" in line for line in lines.lines)


def test_a_traceback_is_cleaned_too() -> None:
    lines = LogLines()
    lines.addFilter(HideSecrets(["s3cr3t"]))
    logger = logging.getLogger("tests.secrets")
    logger.addHandler(lines)
    try:
        raise ValueError("it was s3cr3t")
    except ValueError:
        logger.exception("with %s", "s3cr3t")
    logger.removeHandler(lines)
    assert "s3cr3t" not in lines.lines[0]
    assert "ValueError: it was [token]" in lines.lines[0]


# ---------------------------------------------------------------- before anything runs


async def test_the_checkup_finds_what_is_missing_and_gives_invite_links(house: DiscordHouse) -> None:
    ember, spark = house.selves["Ember"], house.selves["Spark"]
    house.registrar.message_content = False
    house.double.deny(ember, house.room, SEND_MESSAGES | READ_MESSAGE_HISTORY)
    house.extra = {"discord": {"registrar_token": "TOKEN_REGISTRAR", "channels": [house.room.id, 12345]}}
    tokens = {**house.environment(), "TOKEN_SPARK": "wrong"}
    endpoints = Endpoints.from_environment(house.double.environment)
    with pointed_at(endpoints):
        registrar, first, second = await examine(house.cast(), tokens, endpoints)
        without = await examine(house.cast(), {}, endpoints)
    assert any("Message Content" in p for p in registrar.problems)
    assert any("cannot see channel 12345" in p for p in registrar.problems)
    assert any("#parlor" in p and "send messages, read message history" in p for p in first.problems)
    assert any("refuses the token in TOKEN_SPARK" in p for p in second.problems)
    assert f"client_id={house.registrar.id}" in registrar.invite
    assert "applications.commands" in registrar.invite
    assert f"client_id={ember.id}" in first.invite
    assert (spark.id, second.invite) == (spark.id, "")
    assert [f.problems for f in without] == [
        (f"TOKEN_{name} is not set",) for name in ("REGISTRAR", "EMBER", "SPARK")
    ]


async def test_the_checkup_is_content_when_all_is_well(house: DiscordHouse) -> None:
    endpoints = Endpoints.from_environment(house.double.environment)
    with pointed_at(endpoints):
        findings = await examine(house.cast(), house.environment(), endpoints)
    assert [f.problems for f in findings] == [(), (), ()]
    assert house.double.gateway.sessions == {}


def test_what_is_missing_is_named_before_anything_starts(house: DiscordHouse) -> None:
    cast, tokens = house.cast(), house.environment()
    with pytest.raises(UsageError, match="TOKEN_REGISTRAR is not set"):
        check(cast, {**tokens, "TOKEN_REGISTRAR": ""}, ())
    with pytest.raises(UsageError, match="none of the selves has a token"):
        check(cast, {**tokens, "TOKEN_SPARK": ""}, ["Spark"])
    with pytest.raises(UsageError, match="the same token"):
        check(cast, {**tokens, "TOKEN_SPARK": tokens["TOKEN_EMBER"]}, ())
    house.extra = {"discord": {"registrar_token": "TOKEN_REGISTRAR"}}
    with pytest.raises(UsageError, match="no channel"):
        check(house.cast(), tokens, ())
    house.extra = {"schedule": [{"scene": "meeting", "cron": "0 0 * * *", "channel": 12345}]}
    with pytest.raises(UsageError, match="12345, where the selves do not live"):
        check(house.cast(), tokens, ())
