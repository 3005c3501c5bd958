"""A line that its platform refused for good is told of for some days, and stays unposted."""

from __future__ import annotations

from datetime import timedelta

from memory import states
from memory.outbox import KEPT, UNDELIVERED, drop_old_notes, give_up, outcome_of, undelivered
from memory.store import Store
from tests.memory.parts import SPEC, Clock, utterance


async def test_why_a_line_was_given_up_is_told_for_seven_days_and_then_forgotten(
    store: Store, clock: Clock
) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1", key="channel:1")
    for name in ("Ash", "Ember"):
        line = utterance(f"I am {name}.")
        await store.keep_turn(scene.id, speaker=name, utterances=[line], chosen=0)
    old, new = await store.messages(scene.id)
    await give_up(store, old, "no permission")
    clock.now += KEPT - timedelta(hours=1)
    await give_up(store, new, "blocked words")
    assert [line.why for line in await undelivered(store)] == ["blocked words", "no permission"]

    clock.now += timedelta(hours=1)
    assert [line.why for line in await undelivered(store)] == ["blocked words"]
    await drop_old_notes(store)
    assert list(await states.find(store, UNDELIVERED)) == [f"{UNDELIVERED}{new.id}"]
    assert old.nonce is not None
    assert await outcome_of(store, old.nonce) == (None, "")
    assert [m.status for m in await store.messages(scene.id)] == ["undelivered", "undelivered"]
