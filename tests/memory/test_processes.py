"""Several processes at one database: they wait for each other, and agree on what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memory.forget import forget
from memory.store import Store, open_store
from tests.memory import workers
from tests.memory.parts import SPEC, age, every_cell, processes

PROCESSES = 4


def all_at_once(url: str, action: str, *arguments: Any) -> list[Any]:
    """Let several processes do one thing at the same moment; return what each got."""
    barrier = processes.Barrier(PROCESSES)
    pipes = [processes.Pipe(duplex=False) for _ in range(PROCESSES)]
    started = []
    for _, theirs in pipes:
        process = processes.Process(target=workers.race, args=(url, barrier, theirs, action, arguments))
        process.start()
        theirs.close()
        started.append(process)
    try:
        return [ours.recv() for ours, _ in pipes]
    finally:
        for process in started:
            process.join()


async def test_turns_of_several_processes_are_numbered_without_gaps_or_doubles(
    store: Store, database_url: str
) -> None:
    scene = await store.begin_scene(SPEC, place="terminal")
    numbers = all_at_once(database_url, "talk", scene.id, 25)
    assert sorted(n for theirs in numbers for n in theirs) == list(range(1, 25 * PROCESSES + 1))
    messages = await store.messages(scene.id)
    assert [m.sequence for m in messages] == list(range(1, 25 * PROCESSES + 1))
    assert len({m.nonce for m in messages}) == 25 * PROCESSES
    turns = [g.turn for g in await store.generations(scene.id)]
    assert turns == list(range(1, 25 * PROCESSES + 1))


async def test_one_key_is_one_scene_however_many_begin_it_at_once(store: Store, database_url: str) -> None:
    ids = all_at_once(database_url, "begin", "2026-05-01T20:00 first-meeting")
    assert len(set(ids)) == 1
    assert len(await store.scenes()) == 1


async def test_an_age_registered_by_several_at_once_is_there_once(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    age(tmp_path, kinds=("diary", "letter", "continuation"))
    news = all_at_once(database_url, "register", str(tmp_path))
    assert sorted(news) == [False, False, False, True]
    assert len(await store.checkpoints()) == 1
    assert len(await store.writings()) == 3


async def test_gateway_events_heard_by_several_at_once_are_kept_once(store: Store, database_url: str) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1")
    heard = all_at_once(database_url, "hear", scene.id, 2**60, 15)
    assert all(one == heard[0] for one in heard)
    messages = await store.messages(scene.id)
    assert [m.sequence for m in messages] == list(range(1, 16))
    assert {m.speaker for m in messages} == {"guest-1", "guest-2", "guest-3"}
    before = every_cell(database_url)
    again = all_at_once(database_url, "hear", scene.id, 2**60, 15)
    assert again == heard
    assert every_cell(database_url) == before


async def test_somebody_is_forgotten_while_others_hear_and_answer_them(
    store: Store, database_url: str
) -> None:
    secret = "the blue teapot with the wedding ring in it"
    scene = await store.begin_scene(SPEC, place="discord:1")
    barrier = processes.Barrier(PROCESSES)
    pipes = [processes.Pipe(duplex=False) for _ in range(PROCESSES)]
    started = []
    for number, (_, theirs) in enumerate(pipes):
        arguments = (scene.id, 1 + 100 * number, secret)
        process = processes.Process(
            target=workers.race, args=(database_url, barrier, theirs, "be_told_and_forget", arguments)
        )
        process.start()
        theirs.close()
        started.append(process)
    kept = sum(ours.recv() for ours, _ in pipes)
    for process in started:
        process.join()
    messages = await store.messages(scene.id)
    assert [m.sequence for m in messages] == list(range(1, kept + 1))
    people = {m.speaker for m in messages if m.human}
    for person in people:
        await forget(store, person)
    assert {m.status for m in await store.messages(scene.id) if m.human} == {"forgotten"}
    assert all(g.prompt is None for g in await store.generations(scene.id))
    assert secret not in every_cell(database_url)


@pytest.mark.parametrize("_time", range(3))
async def test_a_new_database_opened_by_several_at_once_is_made_once(empty_url: str, _time: int) -> None:
    assert all_at_once(empty_url, "open") == [0] * PROCESSES
    async with open_store(empty_url) as store:
        assert (await store.stats()).scenes == 0
