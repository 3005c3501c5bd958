"""What is measured in a filled store: a line at a time, search, a page of transcript, export, forgetting."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.remembered.clock import FEW, spread
from benchmarks.remembered.filling import BEGAN, address, weights
from benchmarks.remembered.lines import PERSON_LINES, SELVES, text
from memory.backup import back_up
from memory.export import export
from memory.filters import Filters
from memory.forget import forget
from memory.search import search
from memory.store import Store
from memory.wanted import Wanted
from selves.cast import SceneSpec
from selves.speech import Prompt, Sampling, Utterance

PAGE_LINES = 50
CHANNEL = 2
"""The scene that holds a tenth of all lines."""
PAIRS_SHARE = (100, 10)
"""Lines in the house for each pair that is exported, the first time and the second."""

Result = dict[str, Any]


async def timed(work: Awaitable[Any]) -> tuple[float, Any]:
    """Return how many seconds something took, and what came of it."""
    begun = time.perf_counter()
    result = await work
    return time.perf_counter() - begun, result


async def one_by_one(store: Store, times: int) -> Result:
    """Keep and acknowledge turns as a running scene does, and hear people: a transaction each."""
    source = random.Random(7)
    scene = await store.begin_scene(SceneSpec(name="live", cast=SELVES), place="discord:1")
    at = BEGAN + timedelta(days=400)
    kept, posted, heard = [], [], []
    for number in range(times):
        who = number % len(SELVES)
        utterance = Utterance(
            address=address(who),
            weights_sha256=weights(who),
            engine="embedded",
            engine_version="0.1.0",
            prompt=Prompt(form="transcript", text="".join(f"<Ash> {text(source)}\n" for _ in range(12))),
            sampling=Sampling(seed=number),
            text=text(source),
            token_ids=tuple(range(20)),
            started_at=at,
        )
        seconds, message = await timed(
            store.keep_turn(scene.id, speaker=SELVES[who], utterances=[utterance], chosen=0)
        )
        kept.append(seconds)
        posted.append((await timed(store.mark_posted(message.id, (1 << 60) + 2 * number)))[0])
        said = store.hear(
            scene.id, platform_id=(1 << 60) + 2 * number + 1, user_id=5, text=text(source), created_at=at
        )
        heard.append((await timed(said))[0])
    return {name: spread(own) for name, own in (("keep", kept), ("mark", posted), ("hear", heard))}


async def pages(store: Store, scenes: int, times: int) -> Result:
    """Read the newest lines of scenes here and there, and of the one that is very long."""
    source = random.Random(3)
    ids = [source.randrange(1, scenes + 1) for _ in range(times)]
    return {
        name: spread([(await timed(store.messages(scene, last=PAGE_LINES)))[0] for scene in asked])
        for name, asked in (("page", ids), ("page of the longest scene", [CHANNEL] * times))
    }


async def searches(store: Store, asked: Mapping[str, Sequence[str]]) -> Result:
    """Search for every query once, newest first and best first; and for common words in one lineage."""
    lineage = Filters(lineage=SELVES[0].lower())
    result = {}
    for kind, words in asked.items():
        for sort in ("newest", "best"):
            found = [await timed(search(store, query, sort=sort, limit=FEW)) for query in words]
            result[f"{kind}, {sort}"] = spread([seconds for seconds, _ in found])
    common = next(iter(asked))
    found = [await timed(search(store, query, lineage, limit=FEW)) for query in asked[common]]
    result[f"{common}, newest, one lineage"] = spread([seconds for seconds, _ in found])
    return result


async def exports(store: Store, lines: int, folder: Path) -> list[Result]:
    """Write a tenth of the pairs, then all: blind votes between samples of one prompt, as DPO rows."""
    results = []
    for number, share in enumerate(PAIRS_SHARE):
        wanted = Wanted(format="dpo", limit=max(1, lines // share))
        seconds, made = await timed(export(store, wanted, folder / f"pairs-{number}"))
        results.append({"rows": made.rows, "seconds": round(seconds, 3)})
    return results


async def forgets(store: Store, lines: int) -> list[Result]:
    """Forget a person who said a thousandth of all lines, then one who said a hundredth."""
    results = []
    for person, share in sorted(enumerate(PERSON_LINES, 1), key=lambda item: -item[1]):
        seconds, report = await timed(forget(store, f"guest-{person}"))
        results.append(
            {
                "messages": report.messages,
                "prompts": report.prompts,
                "lines_in_house": lines,
                "share": share,
                "seconds": round(seconds, 3),
            }
        )
    return results


async def backs_up(store: Store, target: Path) -> Result:
    """Back everything up."""
    seconds, manifest = await timed(back_up(store, target))
    return {"rows": manifest.rows, "bytes": target.stat().st_size, "seconds": round(seconds, 3)}
