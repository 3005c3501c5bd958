"""A process is killed between keeping, posting and noting that it posted: nothing lost, nothing twice."""

from __future__ import annotations

import contextlib
import json
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from memory.store import open_store
from tests.memory import workers
from tests.memory.parts import processes


class FakeChannel(socketserver.ThreadingUnixStreamServer):
    """A place to post to over a socket. Like Discord it knows nonces: a known one posts nothing again."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), _Posting)
        self.path = str(path)
        self.lock = threading.Lock()
        self.texts: list[str] = []
        self.ids: dict[str, int] = {}
        self.received = threading.Event()


class _Posting(socketserver.StreamRequestHandler):
    server: FakeChannel

    def handle(self) -> None:
        line = self.rfile.readline()
        if not line.endswith(b"\n"):
            return  # killed while it was speaking
        post = json.loads(line)
        self.server.received.set()
        with self.server.lock:
            if post["nonce"] not in self.server.ids:
                self.server.texts.append(post["text"])
                self.server.ids[post["nonce"]] = 1_000_000 + len(self.server.ids)
            answer = self.server.ids[post["nonce"]]
        with contextlib.suppress(BrokenPipeError):  # killed before it heard the answer
            self.wfile.write(f"{answer}\n".encode())


@pytest.fixture
def channel() -> Iterator[FakeChannel]:
    with tempfile.TemporaryDirectory(prefix="selves-") as folder, FakeChannel(Path(folder) / "s") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_a_scene_that_is_killed_at_every_step_ends_complete_and_single(
    database_url: str, channel: FakeChannel
) -> None:
    acknowledged: list[str] = []
    rng = Random(0)
    kills = 0
    while True:
        # each process dies after another number of steps, and somewhere within the next one
        patience, moment_s = kills % 6 + 1, rng.uniform(0, 0.008)
        steps, theirs = processes.Pipe()
        process = processes.Process(target=workers.play, args=(database_url, channel.path, theirs))
        process.start()
        theirs.close()
        try:
            for _ in range(patience):
                step = steps.recv()
                if step.startswith("kept "):
                    acknowledged.append(step.removeprefix("kept "))
                steps.send("go on")
            process.join(moment_s)
        except EOFError:
            process.join()
        if process.exitcode is not None:
            assert process.exitcode == 0
            break
        process.kill()
        process.join()
        steps.close()
        kills += 1

    lines = [f"line {number + 1}" for number in range(workers.TURNS)]
    assert kills >= workers.TURNS
    assert channel.texts == lines
    async with open_store(database_url) as store:
        (scene,) = await store.scenes()
        messages = await store.messages(scene.id)
        assert (scene.status, scene.turns, scene.messages) == ("ended", workers.TURNS, workers.TURNS)
        assert [m.text for m in messages] == lines
        assert set(acknowledged) <= {m.text for m in messages}
        assert [m.sequence for m in messages] == list(range(1, workers.TURNS + 1))
        assert [m.platform_id for m in messages] == [channel.ids[m.nonce] for m in messages]
        assert len(await store.generations(scene.id)) == workers.TURNS
        assert await store.unposted() == []


async def test_events_that_are_heard_again_after_every_kill_are_kept_once_and_the_forgotten_stay_so(
    database_url: str,
) -> None:
    rng = Random(1)
    forgetting = workers.EVENTS + workers.EVENTS // 3 + workers.EVENTS // 4 + 1
    """The step at which all was heard."""
    killed = 0
    for patience in [*range(1, forgetting), *[forgetting] * 6, None]:
        steps, theirs = processes.Pipe()
        process = processes.Process(target=workers.listen, args=(database_url, theirs))
        process.start()
        theirs.close()
        for _ in range(patience or forgetting + 1):
            steps.recv()
            steps.send("go on")
        if patience is not None:
            process.join(rng.uniform(0, 0.05 if patience == forgetting else 0.008))
            process.kill()
        process.join()
        steps.close()
        killed += process.exitcode != 0
    assert process.exitcode == 0
    assert killed > forgetting

    async with open_store(database_url) as store:
        (scene,) = await store.scenes()
        messages = await store.messages(scene.id)
        numbers = range(1, workers.EVENTS + 1)
        assert [m.sequence for m in messages] == list(numbers)
        assert [(m.text, m.status) for m in messages] == [
            ("", "forgotten")
            if number % 2
            else ("", "deleted")
            if number % 4 == 0
            else (f"edited {number}" if number % 3 == 0 else f"said {number}", "posted")
            for number in numbers
        ]
        assert {m.speaker for m in messages} == {"guest-1", "guest-2"}


async def test_a_message_that_reached_the_channel_but_was_not_noted_is_not_posted_twice(
    database_url: str, channel: FakeChannel
) -> None:
    steps, theirs = processes.Pipe()
    for _ in range(3):  # as far as the first posting
        steps.send("go on")
    process = processes.Process(target=workers.play, args=(database_url, channel.path, theirs))
    with channel.lock:  # the channel hears it, and cannot answer
        process.start()
        assert channel.received.wait(240)
        process.kill()
        process.join()
    steps.close()
    theirs.close()
    async with open_store(database_url) as store:
        (message,) = await store.unposted("socket")
        first = workers._post(channel.path, message.nonce, message.text)
        assert workers._post(channel.path, message.nonce, message.text) == first
        await store.mark_posted(message.id, first)
        assert (await store.mark_posted(message.id, first)).platform_id == first
        assert await store.unposted() == []
    assert channel.texts == ["line 1"]
