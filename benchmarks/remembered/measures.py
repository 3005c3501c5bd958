"""What is measured in a filled store: a line at a time, search, a page of transcript, export, forgetting."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from benchmarks.remembered.clock import FEW, spread
from benchmarks.remembered.filling import BEGAN, address, weights
from benchmarks.remembered.lines import SELVES, text
from memory.store import Store
from selves.cast import SceneSpec
from selves.speech import Prompt, Sampling, Utterance

PAGE_LINES = 50
CHANNEL = 2
"""The scene that holds a tenth of all lines."""

Result = dict[str, Any]


async def timed(call: Callable[[], Awaitable[Any]]) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = await call()
    return time.perf_counter() - begun, result


async def one_by_one(store: Store, times: int) -> Result:
    """Keep and acknowledge turns as a running scene does, and hear people: a transaction each."""
    source = random.Random(7)
    scene = await store.begin_scene(SceneSpec(name="live", cast=SELVES), place="discord:1")
    at = BEGAN + timedelta(days=400)
    kept, posted, heard = [], [], []
    for number in range(times):
        utterance = Utterance(
            address=address(number % len(SELVES)),
            weights_sha256=weights(number % len(SELVES)),
            engine="embedded",
            engine_version="0.1.0",
            prompt=Prompt(form="transcript", text="".join(f"<Ash> {text(source)}\n" for _ in range(12))),
            sampling=Sampling(seed=number),
            text=text(source),
            token_ids=tuple(range(20)),
            started_at=at,
        )
        speaker = SELVES[number % len(SELVES)]
        seconds, message = await timed(
            lambda u=utterance, s=speaker: store.keep_turn(scene.id, speaker=s, utterances=[u], chosen=0)
        )
        kept.append(seconds)
        seconds, _ = await timed(lambda m=message, n=number: store.mark_posted(m.id, (1 << 60) + 2 * n))
        posted.append(seconds)
        seconds, _ = await timed(
            lambda n=number: store.hear(
                scene.id, platform_id=(1 << 60) + 2 * n + 1, user_id=5, text=text(source), created_at=at
            )
        )
        heard.append(seconds)
    return {name: spread(own) for name, own in (("keep", kept), ("posted", posted), ("hear", heard))}


async def pages(store: Store, scenes: int, times: int) -> Result:
    """Read the newest lines of scenes here and there, and of the one that is very long."""
    source = random.Random(3)
    ids = [source.randrange(1, scenes + 1) for _ in range(times)]
    result = {}
    for name, asked in (("page", ids), ("page of a long scene", [CHANNEL] * times)):
        taken = [(await timed(lambda i=i: store.messages(i, last=PAGE_LINES)))[0] for i in asked]
        result[name] = spread(taken)
    return result


async def searches(store: Store, asked: Mapping[str, Sequence[str]]) -> Result:
    """Search for every query once, newest first and best first."""
    from memory.search import search

    result = {}
    for kind, words in asked.items():
        for sort in ("newest", "best"):
            measured = [await timed(lambda q=q, s=sort: search(store, q, sort=s, limit=FEW)) for q in words]
            result[f"{kind}, {sort}"] = spread([seconds for seconds, _ in measured])
    return result


def growth(sizes: Iterable[float], costs: Iterable[float]) -> float:
    """Return how cost grows with size: 1 when ten times the size costs ten times as much. Two of each."""
    small, large = sizes
    cheap, dear = costs
    return round((dear / cheap) / (large / small), 2)
