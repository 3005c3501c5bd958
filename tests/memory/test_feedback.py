"""Votes, reactions and reports are kept once, changed by saying them again, and taken back."""

from __future__ import annotations

from typing import Any

import pytest

from memory import ballots, feedback
from memory.models import FeedbackRow
from memory.preference import Opinion
from memory.store import Store
from selves.errors import StoreError, UsageError
from tests.memory.parts import SPEC, utterance


async def two_samples(store: Store, *, second: str = "ember@base-000400") -> tuple[int, int]:
    scene = await store.begin_scene(SPEC, place="terminal")
    one, other = utterance("One."), utterance("Another.", address=second)
    await store.keep_turn(scene.id, speaker="Ember", utterances=[one, other], chosen=0)
    first, second_sample = await store.generations(scene.id)
    return first.id, second_sample.id


async def opinions(store: Store) -> list[Opinion]:
    async with store.reading() as session:
        return await feedback.find_opinions(session, feedback.KINDS)


async def test_saying_it_again_under_the_same_key_changes_it(store: Store) -> None:
    first, second = await two_samples(store)
    for value in ("first", "second", "second"):
        kept = await feedback.keep(
            store,
            "vote",
            first,
            other_id=second,
            value=value,
            shown_first=second,
            blind=True,
            via="web",
            key="vote 1",
        )
    assert await opinions(store) == [Opinion("vote", first, second, "second", True, second)]
    async with store.reading() as session:
        row = await session.get_one(FeedbackRow, kept)
        assert row.at == store.clock()


async def test_what_was_taken_back_counts_no_more_until_it_is_said_again(store: Store) -> None:
    sample, _ = await two_samples(store)

    async def like() -> None:
        await feedback.keep(store, "reaction", sample, value="up", via="discord", key="r")

    await like()
    assert await feedback.withdraw(store, "r")
    assert not await feedback.withdraw(store, "r")
    assert await opinions(store) == []
    await like()
    assert await opinions(store) == [Opinion("reaction", sample, value="up")]


async def test_without_a_key_everything_counts(store: Store) -> None:
    sample, _ = await two_samples(store)
    for _ in range(2):
        await feedback.keep(store, "shown", sample, via="web")
    assert len(await opinions(store)) == 2


async def test_feedback_about_nothing_is_refused(store: Store) -> None:
    sample, other = await two_samples(store)
    with pytest.raises(StoreError, match="there is no generation 99"):
        await feedback.keep(store, "reaction", 99, value="up", via="cli")
    for kind, other_id, value in (
        ("vote", None, "first"),
        ("vote", other, "up"),
        ("vote", sample, "first"),
        ("reaction", None, None),
        ("reaction", other, "up"),
        ("reported", None, "up"),
        ("nonsense", None, None),
    ):
        with pytest.raises(UsageError):
            await feedback.keep(store, kind, sample, other_id=other_id, value=value, via="cli")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="not one of the two"):
        await feedback.keep(store, "vote", sample, other_id=other, value="first", shown_first=99, via="cli")


def test_the_order_shown_is_drawn_anew_on_every_occasion() -> None:
    orders = [feedback.shown_order(1, 2, f"guest-{number}") for number in range(200)]
    assert 60 < orders.count((1, 2)) < 140
    assert set(orders) == {(1, 2), (2, 1)}
    assert feedback.shown_order(1, 2, "guest-1") == feedback.shown_order(2, 1, "guest-1")


async def test_ages_are_rated_by_the_votes_between_them(store: Store) -> None:
    old, young = "ember@base-000400", "ember@base-000100"
    for number in range(6):
        first, second = await two_samples(store, second=young)
        value = "second" if number == 0 else "first"
        await feedback.keep(
            store, "vote", first, other_id=second, value=value, blind=True, shown_first=first, via="cli"
        )
    same_age, its_sibling = await two_samples(store)
    await feedback.keep(store, "vote", same_age, other_id=its_sibling, value="second", via="cli")
    rated = await feedback.rate(store)
    assert [rating.age for rating in rated.ratings] == [old, young]
    assert (rated.votes, rated.blind, rated.voters) == (6, 6, 0)
    assert (rated.shown_first_won, rated.shown_first_of) == (5, 6)
    assert (await feedback.rate(store, "ash")).ratings == []


async def test_a_reported_sample_rates_nobody(store: Store) -> None:
    first, second = await two_samples(store, second="ember@base-000100")
    await feedback.keep(store, "vote", first, other_id=second, value="first", via="cli")
    await feedback.keep(store, "reported", first, via="cli", key="report 1")
    assert (await feedback.rate(store)).votes == 0
    await feedback.withdraw(store, "report 1")
    assert (await feedback.rate(store)).votes == 1


@pytest.mark.parametrize("newest", [0, 3, 2000])
async def test_what_nobody_voted_on_comes_newest_first_wherever_it_lies(
    store: Store, monkeypatch: pytest.MonkeyPatch, newest: int
) -> None:
    monkeypatch.setattr(ballots, "NEWEST", newest)
    pairs = [await two_samples(store) for _ in range(4)]
    pairs.append(await two_samples(store, second="spark@base-000400"))  # two ages: no ballot between siblings

    async def to_vote(**what: Any) -> list[tuple[int, int]]:
        found = await ballots.find_ballots(store, **what)
        return [(min(one), max(one)) for one in ((b.first.id, b.second.id) for b in found)]

    async def vote(first: int, second: int) -> str:
        key = f"{first}:{second}"
        await feedback.keep(store, "vote", first, other_id=second, value="first", via="web", key=key)
        return key

    assert await to_vote() == pairs[3::-1]
    assert await to_vote(limit=2) == pairs[3:1:-1]
    assert await to_vote(lineage="spark") == []
    taken_back = await vote(*pairs[1])
    await vote(*reversed(pairs[3]))
    assert await to_vote(lineage="ember") == [pairs[2], pairs[0]]
    await feedback.withdraw(store, taken_back)
    assert await to_vote() == pairs[2::-1]
