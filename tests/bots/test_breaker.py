"""Before Discord shuts out the house, the house stops asking."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.breaker import Breaker, TooManyRefusals
from bots.fleet import Fleet
from memory.store import open_store
from tests.bots.discord_house import DiscordHouse, eventually, open_house
from tests.bots.test_discord_faults import Wire


@pytest.fixture
async def house(tmp_path: Path, serving_url: str) -> AsyncIterator[DiscordHouse]:
    async with open_house(tmp_path, serving_url) as opened:
        yield opened


@given(st.lists(st.tuples(st.floats(0, 400), st.sampled_from((200, 401, 403, 404, 429, 500))), max_size=60))
def test_no_ten_minutes_ever_hold_more_refusals_than_the_limit(asked: list[tuple[float, int]]) -> None:
    now = 0.0
    breaker = Breaker(limit=5, window_s=600, clock=lambda: now)
    refused: list[float] = []
    for pause, status in asked:
        now += pause
        try:
            breaker.check()
        except TooManyRefusals:
            continue
        breaker.saw(status)
        refused += [now] if status in (401, 403, 429) else []
    for end in refused:
        assert sum(end - 600 < moment <= end for moment in refused) <= 5


def test_a_limit_that_many_bots_share_is_not_counted() -> None:
    breaker = Breaker(limit=1)
    breaker.saw(429, "shared")
    breaker.check()
    breaker.elsewhere = 1
    with pytest.raises(TooManyRefusals, match="refused 1 requests"):
        breaker.check()


async def test_a_fleet_that_is_refused_too_often_falls_silent_and_loses_nothing(
    house: DiscordHouse, caplog: pytest.LogCaptureFixture
) -> None:
    wire = Wire(house.serving_url)
    async with wire.open() as house.serving_url, house.awake() as awake:
        await awake.until_caught_up()
        wire.free.clear()
        for _ in range(4999):
            awake.fleet.breaker.saw(403)
        house.double.fail("POST", r"/channels/\d+/typing", status=403)
        house.anna.post(house.room, f"{house.double.mention(house.selves['Ember'])} hello")

        async def it_is_silent() -> bool:
            return awake.fleet.breaker.is_open

        await eventually(it_is_silent)
        wire.free.set()

        async def it_gave_up() -> bool:
            return "TooManyRefusals" in caplog.text or "could not post" in caplog.text

        await eventually(it_gave_up)
        assert house.double.rest.log[-1].status == 403
        assert caplog.text.count("everybody is silent") == 1
    async with house.awake() as awake:
        await house.until_said(1)
        kept = await awake.settled()
    assert [m.speaker for m in kept if m.address] == ["Ember"]
    assert len(house.said()) == 1


async def test_refusals_of_other_processes_count_too(house: DiscordHouse) -> None:
    async with open_store(house.database_url) as store:
        voice: object = None
        one, two = (
            Fleet(house.cast(), store, voice, house.environment(), process=name)  # type: ignore[arg-type]
            for name in ("one", "two")
        )
        for _ in range(3):
            one.breaker.saw(401)
        await one.processes.beat()
        await two.processes.beat()
        assert two.breaker.elsewhere == 3
