"""`selves loop FILE`: what memory may give trains the next self. Without --go it only says what it would."""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from selves.cast import load_cast
from selves.cli import make_parser
from selves.errors import SelvesError
from selves.moving import persona_table
from selves.settings import House
from training.tokenizer import self_name

if TYPE_CHECKING:
    from bots.loop import LoopRecipe, Plan, Verdict
    from memory.export import Exported

log = logging.getLogger("selves.loop")

EXAMPLES = """
selves loop recipes/loop/votes.toml               what memory may give now, and what would be done with it
selves loop recipes/loop/votes.toml --go          train the next self; it stays if nothing important broke
selves loop recipes/loop/votes.toml --history     all rounds
"""


def main(argv: Sequence[str]) -> int | None:
    parser = make_parser("selves loop", "Let what was remembered become the next self.", EXAMPLES)
    parser.add_argument("file", type=Path, help="a TOML file such as recipes/loop/votes.toml")
    parser.add_argument("--go", action="store_true", help="do it; without this nothing is written")
    parser.add_argument("--history", action="store_true", help="say what came of earlier rounds")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    options = parser.parse_args(argv)
    from bots.loop import load_loop, verdicts

    house, recipe = House.from_environment(), load_loop(options.file)
    if options.history:
        told = verdicts(recipe, house)
        for verdict in told:
            _show_verdict(verdict, as_json=options.json)
        if not told and not options.json:
            print(f"no round is over yet; `selves loop {options.file} --go` begins one")
        return 0
    begun = asyncio.run(_begin(recipe, house, options))
    if begun is None:
        return 0
    from bots import loop

    # hours, in which nothing is asked of the database, and Ctrl-C keeps the step in hand
    verdict = loop.decide(recipe, house, *begun, log.info)
    asyncio.run(_end(recipe, house, verdict))
    _show_verdict(verdict, as_json=options.json)
    if verdict.kept and recipe.letters:
        asyncio.run(_answer_letters(house))
    return 0


async def _begin(
    recipe: LoopRecipe, house: House, options: argparse.Namespace
) -> tuple[Plan, Exported, list[int]] | None:
    """Return a round, what memory gives for it, and the rounds it is asked of; None: there is none now."""
    from bots import loop
    from memory.store import open_store

    async with open_store(house.database_url) as store:
        if recipe.persona:
            load_cast(house.cast_path).find_persona(recipe.persona)
        arrived = await loop.settle(recipe, house, store, log.info) if options.go else False
        planned = await loop.plan(recipe, house, store)
        if options.go and not planned.waits:
            taken = await loop.take(recipe, house, store, planned)
            return planned, taken, await loop.tests_of(recipe, house, store, planned.round)
    _show_plan(recipe, planned, go=options.go, as_json=options.json)
    if arrived and recipe.letters:
        await _answer_letters(house)
    return None


async def _end(recipe: LoopRecipe, house: House, verdict: Verdict) -> None:
    from bots import loop
    from memory.store import open_store

    async with open_store(house.database_url) as store:
        await loop.conclude(recipe, house, store, verdict, log.info)


async def _answer_letters(house: House) -> None:
    """Let the new self read what waited for it. What fails here waits on; the round is done."""
    from bots.letters_cli import letters

    try:
        await letters(house, load_cast(house.cast_path), 0, as_json=False)
    except SelvesError as error:
        log.warning("letters wait on: %s", error.problem)


def _show_plan(recipe: LoopRecipe, planned: Plan, *, go: bool, as_json: bool) -> None:
    if as_json:
        print(planned.model_dump_json())
        return
    if planned.waits:
        print(f"round {planned.round} waits: {planned.waits}")
    else:
        begun = " goes on" if planned.going_on else ""
        print(
            f"round {planned.round}{begun}: {planned.rows} rows; {recipe.memory.format} from {planned.base}"
        )
    if planned.passed_over:
        rounds = ", ".join(map(str, planned.passed_over))
        print(f"  passed over: round {rounds}, whose words were called back or whose age is gone")
    for reason, number in planned.left_out.items():
        print(f"  left out: {number:,} {reason}")
    if not planned.waits:
        print(
            f"  kept if nothing broke in {', '.join(recipe.gate.suites)} and in what earlier rounds held out"
        )
        if not go:
            print("nothing was done; --go does it")


def _show_verdict(verdict: Verdict, *, as_json: bool) -> None:
    if as_json:
        print(verdict.model_dump_json())
        return
    what = f"{verdict.address} stays" if verdict.kept else f"not kept: it lost {', '.join(verdict.lost)}"
    print(f"round {verdict.round}, {verdict.rows} rows, from {verdict.base}: {what}")
    for figure in verdict.figures:
        mark = "  broken" if figure["broken"] else ""
        than = f" (of {figure['than']})" if figure.get("than", verdict.base) != verdict.base else ""
        print(f"  {figure['name']}: {figure['before']}{than} -> {figure['after']}{mark}")
    if verdict.kept:
        lineage = verdict.address.partition("@")[0]
        print(f"in a cast:\n\n{persona_table(self_name(lineage), verdict.address)}")
