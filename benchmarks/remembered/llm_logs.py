"""simonw/llm's logs database, filled and searched by llm's own code; a program for llm's environment.

Reads a job as JSON from stdin, writes its result as JSON to stdout. A turn of llm is a prompt and a response:
each is two lines that follow each other, so that both systems index the same words. Turns belong to no
conversation, which spares llm from looking at all earlier messages of one whenever it adds another.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.remembered.clock import FEW, spread
from benchmarks.remembered.lines import scenes

BATCH = 500
"""Turns in a transaction, when there are several."""


def main(job: dict[str, Any]) -> dict[str, Any]:
    # llm is in this program's environment alone
    llm: Any = importlib.import_module("llm")
    logs: Any = importlib.import_module("llm.logs")
    sqlite_utils: Any = importlib.import_module("sqlite_utils")

    class Parrot(llm.Model):  # type: ignore[misc]
        """Says what it is told to, so that only keeping it takes time."""

        model_id = "parrot"
        can_stream = False
        answer = ""

        def execute(self, *_: Any, **__: Any) -> Iterator[str]:
            yield self.answer

    parrot = Parrot()

    def response(prompt: str, answer: str) -> Any:
        parrot.answer = answer
        made = parrot.prompt(prompt)
        made.text()
        return made

    db = sqlite_utils.Database(job["path"])
    store = logs.LogStore(db)
    result: dict[str, Any] = {"version": version("llm")}
    pairs = _pairs(job["lines"], job["seed"])
    if job["lines"]:
        seconds = 0.0
        while batch := [response(*pair) for pair in islice(pairs, BATCH)]:
            begun = time.perf_counter()
            with db.atomic():
                for one in batch:
                    store.log(one)
            seconds += time.perf_counter() - begun
        result["batched"] = {"lines": job["lines"], "seconds": seconds}
    made = [response(*pair) for pair in islice(_pairs(2 * job["single"], job["seed"] + 1), job["single"])]
    taken = [_timed(lambda one=one: store.log(one))[0] for one in made]
    result["single"] = spread(taken) | {"seconds": sum(taken)}
    result["search"] = {}
    for kind, words in job["queries"].items():
        for name, latest in (("newest", True), ("best", False)):
            asked = [
                _timed(lambda query=query, latest=latest: len(_search(logs, store, query, latest)))
                for query in words
            ]
            result["search"][f"{kind}, {name}"] = spread([seconds for seconds, _ in asked]) | {
                "found": sum(found for _, found in asked)
            }
    result["bytes"] = Path(job["path"]).stat().st_size
    return result


def _pairs(lines: int, seed: int) -> Iterator[tuple[str, str]]:
    said = (line.text for scene in scenes(lines, seed) for line in scene) if lines else iter(())
    yield from zip(said, said, strict=False)


def _search(logs: Any, store: Any, query: str, latest: bool) -> list[Any]:
    return list(logs.merged_log_rows(store, count=FEW, query=query, latest=latest))


def _timed(call: Any) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = call()
    return time.perf_counter() - begun, result


if __name__ == "__main__":
    print(json.dumps(main(json.load(sys.stdin))))
