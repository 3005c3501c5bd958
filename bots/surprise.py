"""`selves memory surprise`: how unlikely a neighbouring age finds what a self said, in bits per byte.

What the next age would say as well is like it; what it would not is either babble or the best that was said.
The figure is kept as the score `surprise`, so that `selves memory search --sort surprise` knows it.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from memory import show
from memory.scoring import keep_scores, neighbours, without_score
from memory.store import Store, open_store
from memory.types import Generation
from selves.cast import load_cast_or_empty
from selves.cli import count, make_parser
from selves.lineage import LINEAGE_PATTERN, Address, list_ages
from selves.settings import House
from selves.speech import Prompt
from serving.address import serving_address
from serving.questions import Priority
from serving.voice import Voice

log = logging.getLogger("selves.surprise")

EXAMPLES = """
selves memory surprise                             the newest 100 samples that have no such score yet
selves memory surprise ember --most 1000           of one lineage
selves memory surprise ember --under ember@chat-000150
selves memory search --sort surprise               then read what surprised most
"""

OnSample = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Surprised:
    """What a run did."""

    scored: int
    left_out: dict[str, int]
    """Why -> how many samples."""


def main(argv: Sequence[str]) -> int:
    """Run `selves memory surprise`. Raises SelvesError."""
    parser = make_parser(
        "selves memory surprise",
        "Score what selves said by how unlikely a neighbouring age finds it.",
        EXAMPLES,
    )
    parser.add_argument("lineage", nargs="?", type=_lineage, help="only what this lineage said")
    parser.add_argument(
        "--under",
        default="next",
        metavar="AGE",
        help="next (or for the newest age the one before), previous, or an address (default: next)",
    )
    parser.add_argument("--most", type=count, default=100, metavar="N", help="score so many (default: 100)")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    arguments = parser.parse_args(argv)
    if arguments.under not in ("next", "previous"):
        arguments.under = str(Address.parse(arguments.under))
    done = asyncio.run(_main(House.from_environment(), arguments))
    if arguments.json:
        print(show.to_json(done))
    else:
        print(f"{done.scored} samples scored")
        for why, number in done.left_out.items():
            print(f"{number} left out: {why}")
    return 0


def _lineage(text: str) -> str:
    import re

    if not re.fullmatch(LINEAGE_PATTERN, text):
        raise argparse.ArgumentTypeError(f"{text!r} is no lineage's name")
    return text


async def _main(house: House, arguments: argparse.Namespace) -> Surprised:
    async with open_store(house.database_url, create=False) as store:
        for age in list_ages(house.checkpoints):
            await store.register_age(age)
        samples = await without_score(store, "surprise", lineage=arguments.lineage, most=arguments.most)
        if not samples:
            return Surprised(0, {})
        cast = load_cast_or_empty(house.cast_path)
        async with (
            serving_address(house, cast, on_wait=log.info) as url,
            Voice(url, house.api_key) as voice,
        ):
            with _bar(len(samples)) as on_sample:
                return await surprise(store, voice, samples, arguments.under, on_sample=on_sample)


async def surprise(
    store: Store,
    voice: Voice,
    samples: Sequence[Generation],
    under: str = "next",
    *,
    on_sample: OnSample = lambda: None,
) -> Surprised:
    """Score samples under a neighbour of their age, and keep each score as soon as it is known.

    Raises EngineError when the engine fails; what was scored until then is kept.
    """
    served = await voice.models()
    lives: dict[str, list[str]] = {}
    left_out: Counter[str] = Counter()
    scored = 0
    for sample in samples:
        lineage = Address.parse(sample.address).lineage
        if lineage not in lives:
            lives[lineage] = [age for age in await neighbours(store, lineage) if age in served]
        judge = neighbour(sample.address, lives[lineage], under)
        if judge is None or judge not in served:
            left_out[
                f"no age beside {sample.address} is served" if judge is None else f"{judge} is not served"
            ] += 1
        elif (bits := await _bits_per_byte(voice, judge, sample)) is None:
            left_out["longer than all that the other age can read"] += 1
        else:
            await keep_scores(store, "surprise", {sample.id: bits})
            scored += 1
        on_sample()
    return Surprised(scored, dict(left_out))


def neighbour(address: str, life: Sequence[str], under: str) -> str | None:
    """Return which age judges what `address` said, None if there is none (pure).

    `life` has the lineage's ages in order. `next` is the one after, and for the newest the one before, as
    `previous` is for all; anything else is the address of the judge itself.
    """
    if under not in ("next", "previous"):
        return under
    if address not in life:
        return None
    at = life.index(address)
    later = life[at + 1 : at + 2] if under == "next" else []
    return next(iter([*later, *life[:at][-1:]]), None)


def bits_per_byte(logprob: float, text: str) -> float:
    """Turn the natural log-probability of a text into bits per byte of it (pure)."""
    return -logprob / math.log(2) / len(text.encode("utf-8", "surrogatepass"))


def shorter(prompt: Prompt) -> Prompt | None:
    """Return the prompt without its first line or message, None when only one is left (pure)."""
    if prompt.form == "chat":
        rest = prompt.messages[1:]
        return prompt.model_copy(update={"messages": rest}) if rest else None
    _, broken, text = prompt.text.partition("\n")
    return prompt.model_copy(update={"text": text}) if broken and text else None


async def _bits_per_byte(voice: Voice, judge: str, sample: Generation) -> float | None:
    """None when the text is longer than the judge's window; a longer prompt loses its beginning."""
    prompt = sample.prompt
    room = (await voice.info(judge)).context_tokens - await voice.count_tokens(judge, sample.text)
    while prompt is not None and await _length(voice, judge, prompt) > room:
        prompt = shorter(prompt)
    if prompt is None:
        return None
    (logprob,) = await voice.score(judge, prompt, [sample.text], priority=Priority.DIARIES)
    return bits_per_byte(logprob, sample.text)


async def _length(voice: Voice, judge: str, prompt: Prompt) -> int:
    return await voice.count_tokens(judge, prompt.text if prompt.form == "transcript" else prompt.messages)


@contextmanager
def _bar(samples: int) -> Iterator[OnSample]:
    """A progress bar on stderr, when that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("scoring", total=samples)
        yield lambda: progress.advance(task)
