"""Who joins the cast, is another age, or leaves: told in a channel, once, whatever happens in between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import discord
import pytest

from bots.news import TOLD
from bots.reading import Company
from memory import states
from selves.cast import Cast
from tests.bots.discord_house import Awake, DiscordHouse, open_house
from tests.discord_double.state import Channel


@pytest.fixture
async def house(tmp_path: Path, serving_url: str) -> AsyncIterator[DiscordHouse]:
    async with open_house(tmp_path, serving_url) as opened:
        yield opened


async def become(awake: Awake, cast: Cast, channel: Channel, **addresses: str) -> None:
    """Let the cast be these selves at these ages, with news told in a channel."""
    changed = cast.model_dump()
    changed["scene"] = []
    changed["discord"]["news"] = channel.id
    known = {persona["name"]: persona for persona in changed["persona"]}
    changed["persona"] = [{**known[name], "address": address} for name, address in addresses.items()]
    await awake.fleet.take(Company(Cast.model_validate(changed), awake.house.environment()))
    await awake.fleet.tell_news()


def told(channel: Channel) -> list[str]:
    return [message.content for message in channel.messages.values()]


async def test_who_was_there_is_not_news_and_who_comes_changes_or_goes_is_told_once(
    house: DiscordHouse,
) -> None:
    channel, cast = house.double.add_channel("news"), house.cast()
    first, later = "tiny@base-000000", "tiny@chat-000008"
    async with house.awake() as awake:
        await become(awake, cast, channel, Ember=first)
        assert told(channel) == []
        await become(awake, cast, channel, Ember=first, Spark=first)
        await become(awake, cast, channel, Ember=later, Spark=first)
        await become(awake, cast, channel, Ember=later, Spark=first)
        await become(awake, cast, channel, Spark=first)
    lines = [
        f"**Spark** has come: `{first}`.",
        f"**Ember** is `{later}` now, and was `{first}`.",
        f"**Ember** has gone, and was `{later}`.",
    ]
    assert told(channel) == lines
    async with house.awake() as awake:
        await become(awake, cast, channel, Spark=first)
        assert told(channel) == lines


async def test_what_was_posted_before_a_crash_is_not_posted_again(house: DiscordHouse) -> None:
    channel, cast = house.double.add_channel("news"), house.cast()
    first, later = "tiny@base-000000", "tiny@chat-000008"
    async with house.awake() as awake:
        await become(awake, cast, channel, Ember=first)
        await become(awake, cast, channel, Ember=later)
        await states.put(awake.store, f"{TOLD}Ember", first)  # as if it had died before it was kept
        await become(awake, cast, channel, Ember=later)
        assert told(channel) == [f"**Ember** is `{later}` now, and was `{first}`."]
        await become(awake, cast, channel, Ember=first)
        await become(awake, cast, channel, Ember=later)
    assert told(channel) == [
        f"**Ember** is `{later}` now, and was `{first}`.",
        f"**Ember** is `{first}` now, and was `{later}`.",
        f"**Ember** is `{later}` now, and was `{first}`.",
    ]


async def test_news_that_cannot_be_posted_are_told_when_they_can(
    house: DiscordHouse, caplog: pytest.LogCaptureFixture
) -> None:
    channel, cast = house.double.add_channel("news"), house.cast()
    first = "tiny@base-000000"
    house.double.deny(house.registrar, channel, discord.Permissions(send_messages=True).value)
    async with house.awake() as awake:
        await become(awake, cast, channel, Ember=first)
        await become(awake, cast, channel, Ember=first, Spark=first)
        assert f"news could not be told in channel {channel.id}" in caplog.text
        channel.denied.clear()
        await awake.fleet.tell_news()
    assert told(channel) == [f"**Spark** has come: `{first}`."]
