"""Saying a book's passages again from their weights, and comparing: the last proof of where they come from.

Only the engine that said a passage can say it again to the token. What was written during training was said
by the trainer; that, and what needs words of people that are gone by now, counts as not repeatable, not as
wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from memory.types import Generation
from selves.cast import load_cast_or_empty
from selves.errors import EngineError
from selves.settings import House
from serving.address import serving_address
from serving.voice import ModelInfo, Voice

log = logging.getLogger("selves.book")


@dataclass(frozen=True, slots=True)
class Again:
    """How saying one passage again went."""

    number: int
    outcome: Literal["same", "differs", "cannot"]
    why: str = ""


async def say_again(house: House, samples: Iterable[tuple[int, Generation]]) -> list[Again]:
    """Say samples again, each with the number of its passage. Raises EngineError when there is no engine."""
    cast = load_cast_or_empty(house.cast_path)
    async with (
        serving_address(house, cast, on_wait=log.info) as url,
        Voice(url, house.api_key) as voice,
    ):
        models = await voice.models()
        return [await _again(voice, models.get(sample.address), number, sample) for number, sample in samples]


async def _again(voice: Voice, info: ModelInfo | None, number: int, sample: Generation) -> Again:
    if hindrance := find_hindrance(sample, info):
        return Again(number, "cannot", hindrance)
    assert sample.prompt is not None
    try:
        said = await voice.say(sample.address, sample.prompt, sample.sampling)
    except EngineError as error:
        return Again(number, "differs", error.problem)
    if said.error is not None:
        return Again(number, "differs", said.error)
    if _same(said.token_ids, sample.token_ids) and said.text == sample.text:
        return Again(number, "same")
    versions = f" (by version {said.engine_version}, not {sample.engine_version})"
    changed = said.engine_version != sample.engine_version
    return Again(number, "differs", f"other words came{versions if changed else ''}")


def find_hindrance(sample: Generation, info: ModelInfo | None) -> str:
    """Return why a sample cannot be said again here, or nothing (pure)."""
    if info is None:
        return "its age is not served"
    if info.weights_sha256 != sample.weights_sha256:
        return "its age has other weights now"
    if info.engine != sample.engine:
        return f"it was said by the engine {sample.engine}, and here is {info.engine}"
    if sample.prompt is None:
        return "its prompt held words of people that are gone by now"
    if sample.finish_reason in ("error", "cancelled"):
        return "it broke off"
    return ""


def _same(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether the tokens are the same; where an engine gives none, only the text is compared."""
    return not one or not other or tuple(one) == tuple(other)
