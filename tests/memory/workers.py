"""What other processes do in the tests. Each function runs in a process of its own, and may be killed."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
from collections.abc import Awaitable, Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from memory.forget import forget
from memory.store import Store, open_store
from selves.errors import StoreError
from selves.lineage import read_age
from tests.memory.parts import NOON, SPEC, reading, utterance

TURNS = 12
EVENTS = 8


def race(url: str, barrier: Barrier, results: Connection, action: str, arguments: tuple[Any, ...]) -> None:
    """Open the store, wait for the others, do one thing, and send back what came of it."""

    async def main() -> None:
        if action == "open":
            barrier.wait()
        # whoever forgets waits so long for the others to leave the log alone, which they never do
        wait_s = 10 if action == "be_told_and_forget" else 240
        async with open_store(url, lock_wait_s=wait_s) as store:
            if action != "open":
                barrier.wait()
            results.send(await ACTIONS[action](store, *arguments))

    asyncio.run(main())


async def _open(store: Store) -> int:
    return (await store.stats()).messages


async def _begin(store: Store, key: str) -> int:
    return (await store.begin_scene(SPEC, place="terminal", key=key)).id


async def _talk(store: Store, scene_id: int, turns: int) -> list[int]:
    kept = [
        await store.keep_turn(scene_id, speaker="Ember", utterances=[utterance()], chosen=0)
        for _ in range(turns)
    ]
    return [message.sequence for message in kept if message]


async def _register(store: Store, folder: str) -> bool:
    return await store.register_age(read_age(Path(folder)))


async def _hear(store: Store, scene_id: int, first: int, events: int) -> list[tuple[int, str]]:
    heard = [
        await store.hear(scene_id, platform_id=n, user_id=n % 3, text=f"{n}", created_at=NOON)
        for n in range(first, first + events)
    ]
    return [(message.id, message.speaker) for message in heard]


async def _be_told_and_forget(store: Store, scene_id: int, first: int, secret: str) -> int:
    """Hear somebody, answer them, forget them, again and again, while others do the same to the same person.

    Returns how many messages were kept.
    """
    kept = 0
    for number in range(first, first + 4):
        heard = await store.hear(
            scene_id, platform_id=number, user_id=7, text=f"{secret} {number}", created_at=NOON
        )
        said = utterance(f"You say {secret} {number}.", prompt=reading(heard.id, text=f"{secret} {number}"))
        line = await store.keep_turn(scene_id, speaker="Ember", utterances=[said], chosen=0)
        try:
            await forget(store, heard.speaker)
        except StoreError as error:
            # the others never leave the log alone
            assert "is forgotten, but the disk" in error.problem, error  # noqa: PT017
        kept += 1 if line is None else 2
    return kept


ACTIONS: dict[str, Callable[..., Awaitable[Any]]] = {
    "open": _open,
    "begin": _begin,
    "talk": _talk,
    "register": _register,
    "hear": _hear,
    "be_told_and_forget": _be_told_and_forget,
}


def play(url: str, channel: str, steps: Connection) -> None:
    """Play a scene of TURNS turns in a channel that is a socket; name each step and wait to be let on.

    It begins as a restarted process does: with what was kept and not yet posted.
    """

    async def main() -> None:
        async with open_store(url) as store:
            scene = await store.begin_scene(SPEC, place="socket", key="the-only-one")

            def step(name: str) -> None:
                steps.send(name)
                steps.recv()

            async def post(message_id: int, nonce: str, text: str) -> None:
                step("posting")
                platform_id = _post(channel, nonce, text)
                step("posted")
                await store.mark_posted(message_id, platform_id)
                step("marked")

            for message in await store.unposted("socket"):
                await post(message.id, message.nonce, message.text)
            while (scene := await store.scene(scene.id)).turns < TURNS:
                step("keeping")
                kept = await store.keep_turn(
                    scene.id, speaker="Ember", utterances=[utterance(f"line {scene.turns + 1}")], chosen=0
                )
                assert kept
                step(f"kept {kept.text}")
                await post(kept.id, kept.nonce, kept.text)
            await store.end_scene(scene.id, "max_turns")

    asyncio.run(main())


def listen(url: str, steps: Connection) -> None:
    """Hear all that happened in a channel from the beginning, as a restarted process does; then forget."""

    async def main() -> None:
        async with open_store(url) as store:
            scene = await store.begin_scene(SPEC, place="discord:1", key="the-only-one")

            def step(name: str) -> None:
                steps.send(name)
                steps.recv()

            for number in range(1, EVENTS + 1):
                step("hearing")
                heard = await store.hear(
                    scene.id, platform_id=number, user_id=number % 2, text=f"said {number}", created_at=NOON
                )
                if number % 3 == 0:
                    step("following an edit")
                    await store.edit_heard(
                        number, text=f"edited {number}", edited_at=NOON + timedelta(seconds=number)
                    )
                if number % 4 == 0:
                    step("following a deletion")
                    await store.delete_heard(number)
                assert heard.platform_id in (number, None)  # None once its author was forgotten
            step("forgetting")
            await forget(store, "guest-1")
            step("forgotten")

    asyncio.run(main())


def _post(channel: str, nonce: str, text: str) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(channel)
        connection.sendall(json.dumps({"nonce": nonce, "text": text}).encode() + b"\n")
        answer = connection.makefile().readline()
    return int(answer)


def fill_disk(url: str, scene_id: int, results: Connection) -> None:
    """Keep turns until the disk is full (this process may not make files any larger); send what was kept."""

    async def main() -> list[str]:
        kept = []
        async with open_store(url) as store:
            # room for some turns in the write-ahead log
            resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
            try:
                while True:
                    text = f"{len(kept)} " + "x" * 20_000
                    message = await store.keep_turn(
                        scene_id, speaker="Ember", utterances=[utterance(text)], chosen=0
                    )
                    assert message
                    kept.append(message.text)
            except StoreError as error:
                return [str(error), *kept]

    results.send(asyncio.run(main()))
