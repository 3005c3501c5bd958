"""The engine in a process of its own says what it says here, and whatever ends it ends nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from selves.errors import EngineError, UsageError
from selves.lineage import Age, find_age
from serving.apart import EngineApart
from serving.asks import Ask, Piece
from serving.engine import Delivery, Engine, Job
from tests.servers import serving

BASE = "tiny@base-000016"


@pytest.fixture
def age(checkpoints: Path) -> Age:
    return find_age(checkpoints, BASE)


@pytest.fixture
async def apart() -> AsyncIterator[EngineApart]:
    engine = EngineApart(threads=1)
    engine.start()
    yield engine
    await asyncio.to_thread(engine.close)


async def heard(engine: Engine | EngineApart, age: Age, ids: list[int], ask: Ask) -> list[Delivery]:
    """All that is delivered for one job."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[Delivery]()
    engine.submit(
        Job(age, ids, ask, lambda drawn: loop.call_soon_threadsafe(queue.put_nowait, drawn) and None)
    )
    come: list[Delivery] = []
    while not come or (isinstance(come[-1], Piece) and come[-1].finish is None):
        come.append(await queue.get())
    return come


async def test_it_says_the_same_as_the_engine_here(apart: EngineApart, age: Age) -> None:
    here = Engine(threads=1)
    here.start()
    ids = await apart.encode(age, "<Ash> Hi!\n<Ember>", {})
    assert ids == await here.encode(age, "<Ash> Hi!\n<Ember>", {})
    assert await apart.decode(age, ids) == await here.decode(age, ids)
    ask = Ask(20, temperature=1.1, seed=3, logprobs=2, ignore_eos=True)
    assert await heard(apart, age, ids, ask) == await heard(here, age, ids, ask)
    assert apart.version == here.version
    assert apart.measures()["selves_tokens_generated_total"] == 20
    here.close()


async def test_its_errors_are_errors_here(apart: EngineApart, age: Age) -> None:
    with pytest.raises(UsageError, match="not in the vocabulary"):
        await apart.encode(age, [10**6], {})
    gone = Age(age.card, age.folder.parent / "nobody-000000")
    (error,) = await heard(apart, gone, [5], Ask(4))
    assert isinstance(error, Exception)
    assert "fix" in str(error)


async def test_killed_it_fails_what_it_was_saying_and_comes_back(apart: EngineApart, age: Age) -> None:
    endless = asyncio.create_task(heard(apart, age, [5], Ask(10**6, ignore_eos=True)))
    await apart.encode(age, "Hi", {})
    first = apart.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    last = (await endless)[-1]
    assert isinstance(last, EngineError)
    assert "killed by SIGKILL" in str(last)
    while apart.pid in (None, first):
        with suppress(EngineError):
            await apart.encode(age, "Hi", {})
        await asyncio.sleep(0.05)
    assert (await heard(apart, age, [5], Ask(3, ignore_eos=True)))[-1].finish == "length"  # type: ignore[union-attr]


async def test_a_job_that_is_cancelled_is_not_drawn_any_longer(apart: EngineApart, age: Age) -> None:
    come, loop = asyncio.Event(), asyncio.get_running_loop()

    def deliver(_: Delivery) -> None:
        loop.call_soon_threadsafe(come.set)

    job = Job(age, [5], Ask(10**6, ignore_eos=True), deliver)
    apart.submit(job)
    await come.wait()
    job.cancel()
    await heard(apart, age, [5], Ask(2, ignore_eos=True))
    await apart.encode(age, "Hi", {})
    assert apart.measures()["selves_requests_active"] == 0
    assert apart.measures()["selves_tokens_generated_total"] < 10**6


async def test_closed_it_leaves_no_process_and_refuses(age: Age) -> None:
    engine = EngineApart(threads=1)
    engine.start()
    await engine.encode(age, "Hi", {})
    pid = engine.pid
    assert pid is not None
    engine.close()
    assert not psutil.pid_exists(pid)
    (error,) = await heard(engine, age, [5], Ask(4))
    assert isinstance(error, EngineError)


def test_it_does_not_outlive_who_started_it() -> None:
    script = (
        "from serving.apart import EngineApart\n"
        "engine = EngineApart(threads=1); engine.start()\n"
        "while engine.pid is None: pass\n"
        "print(engine.pid, flush=True); input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        engine = psutil.Process(int(starter.stdout.readline()))
        starter.kill()
        engine.wait(timeout=240)


def test_the_address_stays_up_while_its_engine_comes_back(own_checkpoints: Path) -> None:
    engine = EngineApart(threads=1)
    asked: dict[str, Any] = {"model": BASE, "prompt": "Hi", "max_tokens": 3}
    with serving(own_checkpoints, engine=engine) as url, httpx.Client(base_url=url, trust_env=False) as http:
        assert http.post("/v1/completions", json=asked, timeout=240).status_code == 200
        first = engine.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        statuses = set()
        while engine.pid in (None, first):
            statuses.add(http.post("/v1/completions", json=asked, timeout=240).status_code)
        assert statuses <= {200, 503}
        assert http.post("/v1/completions", json=asked, timeout=240).status_code == 200
