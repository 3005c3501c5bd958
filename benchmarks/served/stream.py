"""Asking servers over HTTP, all at once, with the time at which each byte came back.

While answers come in nothing is parsed, so that the clock's own process takes as little of the machine as it
can.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from benchmarks.served.work import Answer
from selves.errors import EngineError

PATH = "/v1/completions"
PATIENCE_S = 900.0

Chunks = list[tuple[float, bytes]]
"""(seconds since the asks were sent, bytes)."""


def ask(url: str, bodies: Sequence[dict[str, Any]], prompt_tokens: int, new_tokens: int) -> list[Answer]:
    """Send all bodies at once and return the answers in their order. Raises EngineError."""
    try:
        heard = asyncio.run(_ask(url, bodies))
    except httpx.HTTPError as error:
        raise EngineError(f"{url} did not answer: {type(error).__name__} {error}") from error
    return [read_answer(chunks, prompt_tokens, new_tokens) for chunks in heard]


async def _ask(url: str, bodies: Sequence[dict[str, Any]]) -> list[Chunks]:
    async with httpx.AsyncClient(
        base_url=url,
        timeout=httpx.Timeout(PATIENCE_S),
        limits=httpx.Limits(max_connections=None),
        trust_env=False,
    ) as client:
        begun = time.perf_counter()
        return await asyncio.gather(*(_listen(client, body, begun) for body in bodies))


async def _listen(client: httpx.AsyncClient, body: dict[str, Any], begun: float) -> Chunks:
    chunks: Chunks = []
    async with client.stream("POST", PATH, json=body) as response:
        async for chunk in response.aiter_raw():
            chunks.append((time.perf_counter() - begun, chunk))
    if response.status_code != httpx.codes.OK:
        said = b"".join(chunk for _, chunk in chunks).decode("utf-8", "replace")
        raise EngineError(f"{response.status_code} {said[:500]}")
    return chunks


def read_answer(chunks: Chunks, prompt_tokens: int, new_tokens: int) -> Answer:
    """Return what a stream of events says. Raises EngineError when it is not what was asked for."""
    text, first_s, said = "", None, 0
    ids: list[int] = []
    usage: dict[str, Any] = {}
    for seconds, event in events(chunks):
        if "error" in event:
            raise EngineError(f"the answer broke off: {json.dumps(event['error'])[:500]}")
        usage = event.get("usage") or usage
        for choice in event.get("choices", ()):
            new = choice.get("token_ids") or []
            if choice.get("text") or new:
                first_s = seconds if first_s is None else first_s
                said += 1
            text += choice.get("text") or ""
            ids += new
    if first_s is None:
        raise EngineError("the answer is empty")
    counted = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    if counted != (prompt_tokens, new_tokens):
        raise EngineError(
            f"it read {counted[0]} tokens and gave {counted[1]}, not {prompt_tokens} and {new_tokens}",
            "only equal work can be compared",
        )
    return Answer(first_s, chunks[-1][0], new_tokens, ids or None, text)


def events(chunks: Chunks) -> Iterator[tuple[float, dict[str, Any]]]:
    """Yield the JSON of server-sent events, each with the time at which its line was whole."""
    held = b""
    for seconds, chunk in chunks:
        *lines, held = (held + chunk).split(b"\n")
        for line in lines:
            data = line.removeprefix(b"data:").strip()
            if line.startswith(b"data:") and data != b"[DONE]":
                try:
                    yield seconds, json.loads(data)
                except ValueError as error:
                    raise EngineError(f"an event is no JSON: {data[:200]!r}") from error
