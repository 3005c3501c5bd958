"""`selves memory repeat`: say a line again, from its stored row, and compare.

A line can be said again because its row has all that decided it: the weights' hash, the engine, the prompt,
how tokens were drawn, the seed. With the same weights on the same engine the same tokens come.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from memory import show
from memory.store import Store, open_store
from memory.types import Generation
from selves.cast import load_cast_or_empty
from selves.cli import make_parser
from selves.errors import EngineError
from selves.settings import House
from selves.speech import Utterance
from serving.address import serving_address
from serving.voice import ModelInfo, Voice

log = logging.getLogger("selves.repeat")

EXAMPLES = """
selves memory repeat 42                            message 42, as `selves memory transcript` numbers it
selves memory repeat 42 --json                     for a program; exit code 0 means identical
selves memory repeat --sample 17                   a sample that was not posted, by the id that `show` gives
"""
AROUND = 30
"""Characters shown before and after the place where two texts part."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """How saying it again went."""

    verdict: Literal["identical", "differs", "cannot"]
    why: str
    """In words; for `differs` what differs, for `cannot` why it cannot be said again."""
    generation_id: int | None = None
    address: str | None = None
    tokens: int = 0
    """How many the kept sample has."""
    token: int | None = None
    """Of the first that differs, from 0."""
    character: int | None = None
    """Where the texts part, from 0."""
    kept: str | None = None
    """The kept text around that place, or all of it."""
    said: str | None = None


def main(argv: Sequence[str]) -> int:
    """Run `selves memory repeat`: 0 when the same tokens came, 1 when not. Raises SelvesError."""
    parser = make_parser(
        "selves memory repeat",
        "Say a line again, from the same prompt, seed and weights, and say whether it is the same.",
        EXAMPLES,
    )
    parser.add_argument("message", type=int, metavar="ID", help="a message's id")
    parser.add_argument("--sample", action="store_true", help="the id is that of a sample, posted or not")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    arguments = parser.parse_args(argv)
    result = asyncio.run(_main(House.from_environment(), arguments))
    if arguments.json:
        print(show.to_json(result))
    else:
        _print(result)
    return 0 if result.verdict == "identical" else 1


async def _main(house: House, arguments: argparse.Namespace) -> Repetition:
    async with open_store(house.database_url, create=False) as store:
        kept = await _kept(store, arguments.message, sample=arguments.sample)
    if isinstance(kept, Repetition) or (hindrance := find_hindrance(kept)):
        return kept if isinstance(kept, Repetition) else _cannot(kept, hindrance)
    cast = load_cast_or_empty(house.cast_path)
    async with (
        serving_address(house, cast, on_wait=log.info) as url,
        Voice(url, house.api_key) as voice,
    ):
        return await repeat(voice, kept)


async def _kept(store: Store, wanted: int, *, sample: bool) -> Generation | Repetition:
    if sample:
        return await store.generation(wanted)
    message = await store.message(wanted)
    if message.generation_id is None:
        return Repetition("cannot", f"no self said it: it comes from {message.speaker} ({message.origin})")
    return await store.generation(message.generation_id)


def find_hindrance(kept: Generation) -> str:
    """Return why a sample cannot be said again by anybody, or nothing (pure)."""
    if kept.prompt is None:
        return "its prompt held words of people that are gone by now"
    if kept.prompt.sha256 != kept.prompt_sha256:
        return "its prompt is not what its hash says: the database is damaged (`selves memory check`)"
    if not kept.text and not kept.token_ids:
        return "its text is gone, or it never had any"
    return ""


def find_mismatch(kept: Generation, info: ModelInfo) -> str:
    """Return why this engine cannot say a sample again, or nothing (pure)."""
    if info.weights_sha256 != kept.weights_sha256:
        return (
            f"{kept.address} has other weights now: sha256 {info.weights_sha256[:12] or 'unknown'}, "
            f"and it was {kept.weights_sha256[:12]}"
        )
    if info.engine != kept.engine:
        return (
            f"it was said by the engine {kept.engine} {kept.engine_version}, and here is {info.engine} "
            f"{info.engine_version}: engines draw differently"
        )
    return ""


async def repeat(voice: Voice, kept: Generation) -> Repetition:
    """Say a sample again, where `find_hindrance` finds nothing. Raises EngineError when the engine fails."""
    models = await voice.models()
    if kept.address not in models:
        return _cannot(kept, f"its age {kept.address} is not served at {voice.base_url}")
    if mismatch := find_mismatch(kept, models[kept.address]):
        return _cannot(kept, mismatch)
    assert kept.prompt is not None
    said = await voice.say(kept.address, kept.prompt, kept.sampling)
    if said.error is not None:
        raise EngineError(f"the engine failed while repeating: {said.error}", "try again")
    return compare(kept, said)


def compare(kept: Generation, said: Utterance) -> Repetition:
    """Compare a sample with what came when it was said again: token by token, or by text if there are none.

    Of a sample that broke off only what had come is compared (pure).
    """
    broken = kept.finish_reason in ("error", "cancelled")
    tokens = said.token_ids[: len(kept.token_ids)] if broken else said.token_ids
    text = said.text[: len(kept.text)] if broken else said.text
    same_tokens = tokens == kept.token_ids if kept.token_ids and said.token_ids else None
    if same_tokens is not False and text == kept.text:
        what = f"all {len(kept.token_ids)} tokens" if same_tokens else "the whole text"
        why = f"{what}, as far as it came before it broke off" if broken else what
        if said.engine_version != kept.engine_version:
            why += f", by version {said.engine_version} of the engine; it was {kept.engine_version}"
        return _result("identical", why, kept)
    token = None if same_tokens is not False else _parting(kept.token_ids, tokens)
    character = None if text == kept.text else _parting(kept.text, text)
    where = [
        f"token {token}" if token is not None else "",
        f"character {character}" if character is not None else "",
    ]
    why = f"from {' and '.join(part for part in where if part)} on"
    if said.engine_version != kept.engine_version:
        why += f"; the engine is version {said.engine_version}, and was {kept.engine_version}"
    start = max(0, (character or 0) - AROUND)
    end = None if character is None else character + AROUND
    return _result(
        "differs",
        why,
        kept,
        token=token,
        character=character,
        kept=kept.text[start:end],
        said=text[start:end],
    )


def _parting(one: Sequence[object], other: Sequence[object]) -> int:
    """Where two sequences part; that of the shorter one's end when it begins the other."""
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )


def _result(
    verdict: Literal["identical", "differs", "cannot"],
    why: str,
    generation: Generation,
    *,
    token: int | None = None,
    character: int | None = None,
    kept: str | None = None,
    said: str | None = None,
) -> Repetition:
    return Repetition(
        verdict,
        why,
        generation.id,
        generation.address,
        len(generation.token_ids),
        token,
        character,
        generation.text if kept is None else kept,
        said,
    )


def _cannot(kept: Generation, why: str) -> Repetition:
    return _result("cannot", why, kept)


def _print(result: Repetition) -> None:
    head = {"identical": "identical", "differs": "not the same", "cannot": "cannot be repeated"}[
        result.verdict
    ]
    print(f"{head}: {result.why}")
    if result.verdict == "identical":
        print(show.visible(result.kept or ""))
    elif result.verdict == "differs":
        print(f"kept:  {show.visible(result.kept or '')}\nagain: {show.visible(result.said or '')}")
