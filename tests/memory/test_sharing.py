"""What several processes share: leases that end by themselves, states, and what was spent on a day."""

from __future__ import annotations

import asyncio
from datetime import date

from memory import leases, states
from memory.spending import count, spent
from memory.store import Store, open_store
from tests.memory.parts import SPEC, Clock, utterance

MAY_DAY = date(2026, 5, 1)


async def test_a_lease_has_one_holder_until_it_ends_or_is_given_back(store: Store, clock: Clock) -> None:
    assert await leases.acquire(store, "registrar", "a", 60)
    assert not await leases.acquire(store, "registrar", "b", 60)
    assert await leases.acquire(store, "registrar", "a", 60)
    assert [(lease.name, lease.holder) for lease in await leases.held(store)] == [("registrar", "a")]
    await leases.release(store, "registrar", "b")
    assert not await leases.acquire(store, "registrar", "b", 60)
    await leases.release(store, "registrar", "a")
    assert await leases.acquire(store, "registrar", "b", 60)
    clock.pass_days(1)
    assert await leases.held(store) == []
    assert await leases.acquire(store, "registrar", "a", 60)
    assert not await leases.renew(store, "registrar", "b", 60)


async def test_a_lease_that_is_renewed_holds_on(store: Store, clock: Clock) -> None:
    assert await leases.acquire(store, "floor:1", "a", 60)
    for _ in range(3):
        clock.pass_days(50 / 86400)
        assert await leases.renew(store, "floor:1", "a", 60)
        assert not await leases.acquire(store, "floor:1", "b", 60)
    await leases.release(store, "floor:1", "a")
    assert not await leases.renew(store, "floor:1", "a", 60)


async def test_of_many_who_ask_at_once_one_gets_a_lease(store: Store, database_url: str) -> None:
    async with open_store(database_url, clock=store.clock) as other:
        asked = [leases.acquire([store, other][i % 2], "floor", f"process {i}", 60) for i in range(12)]
        assert sum(await asyncio.gather(*asked)) == 1


async def test_a_state_is_what_was_put_last(store: Store) -> None:
    await states.put(store, "place:discord:1", {"opted_in": False})
    await states.put(store, "place:discord:1", {"opted_in": True, "odd": "\x00"})
    await states.put(store, "place_discord:2", [1])
    assert await states.get(store, "place:discord:1") == {"opted_in": True, "odd": "\x00"}
    assert await states.get(store, "place:discord:3", {}) == {}
    assert list(await states.find(store, "place:")) == ["place:discord:1"]
    assert list(await states.find(store, "place_")) == ["place_discord:2"]
    await states.put(store, "place:discord:1", None)
    assert await states.get(store, "place:discord:1") is None


async def spend(store: Store, scopes: list[str], tokens: int) -> None:
    async with store.writing(brief=True) as session:
        await count(session, MAY_DAY, scopes, tokens)


async def test_spending_adds_up_in_every_scope_of_the_day(store: Store, database_url: str) -> None:
    async with open_store(database_url) as other:
        await asyncio.gather(
            *(spend([store, other][i % 2], ["self:Ember", f"place:{i % 3}"], 5) for i in range(12))
        )
    wanted = ["self:Ember", "place:0", "place:9"]
    assert await spent(store, MAY_DAY, wanted) == {"self:Ember": 60, "place:0": 20, "place:9": 0}
    assert await spent(store, date(2026, 5, 2), ["self:Ember"]) == {"self:Ember": 0}


async def test_what_a_turn_draws_is_spent_with_it_whether_it_is_said_or_not(
    store: Store, clock: Clock
) -> None:
    scene = await store.begin_scene(SPEC, place="terminal")
    samples = [utterance("Hello"), utterance("Hi")]
    tokens = sum(len(sample.token_ids) for sample in samples)
    for chosen in (0, None):
        await store.keep_turn(
            scene.id, speaker="Ember", utterances=samples, chosen=chosen, spent_in=["all", "self:Ember"]
        )
    today = clock.now.date()
    assert tokens > 0
    assert await spent(store, today, ["all", "self:Ember"]) == {"all": 2 * tokens, "self:Ember": 2 * tokens}
