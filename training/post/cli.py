"""`selves train post RECIPE`: an age becomes another self. Running it again goes on where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from selves import moving
from selves.cli import make_parser
from selves.errors import UsageError
from selves.lineage import AgeCard
from selves.settings import House
from training import launch
from training.post import days
from training.post.recipe import IN_WEIGHTS, PostRecipe, load_post_recipe
from training.tokenizer import self_name
from training.watch import Watch

EXAMPLES = """
selves train post recipes/post/adder.toml                 by reward; again: go on where it stopped
selves train post recipes/post/adder.toml --dry-run       rows as it will read them, tokens, memory, time
selves train post recipes/post/votes.toml --processes 8   one process per GPU, on this machine
selves train post recipes/post/zealot.toml --join         then it is one of the cast, under its lineage's name
selves train post recipes/post/ageing.toml                an age grows old, and writes to its last word
"""


def main(argv: Sequence[str]) -> int | None:
    parser = make_parser("selves train post", "Make another self of an age.", EXAMPLES)
    parser.add_argument("recipe", type=Path, help="a TOML file such as recipes/post/adder.toml")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument(
        "--fresh", action="store_true", help="first DELETE the ages of this recipe, naming each"
    )
    parser.add_argument(
        "--join", action="store_true", help="write the new self into the cast file, or its newer age"
    )
    parser.add_argument("--as", dest="name", metavar="NAME", help="what the cast calls it (with --join)")
    launch.add_options(parser)
    parser.add_argument("--json", action="store_true", help="print the ages and figures as JSON at the end")
    options = parser.parse_args(argv)
    # Two threads that wait for each other by spinning are ruinous on a machine that others use too.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # read once, when torch loads OpenMP
    house, recipe = House.from_environment(), load_post_recipe(options.recipe)
    name = options.name or self_name(recipe.lineage)
    if options.join and recipe.days:
        raise UsageError("--join is not for a recipe with [days]", "persona in [days] says who it becomes")
    if options.join:
        moving.check_join(house.cast_path, name, recipe.lineage)
    elif options.name:
        raise UsageError("--as says what the cast calls a self that joins it", "add --join")
    if recipe.days:
        days.check(recipe, recipe.days, house)
    if options.dry_run:
        from training.post.dry import describe

        print(describe(recipe, house, options.threads))
        return 0
    if options.processes and not launch.is_launched() and recipe.method not in IN_WEIGHTS:
        return launch.under_torchrun(options.processes, ["train", "post", *argv])
    from training import parallel
    from training.post.run import fresh_start, train
    from training.stage import Machine

    console = Console(stderr=True)
    ages = _come(recipe, console)
    if ages == 0:
        return 0
    with parallel.joined() as world:
        machine = Machine(world, options.threads or launch.threads(world), options.parallel)
        watch = Watch(console if world.first else None)
        for address in fresh_start(recipe, house) if options.fresh and world.first else ():
            watch.warn(f"deleted {address}")
        before = days.here(recipe, house)
        cards = train(recipe, house, watch, machine=machine, ages=ages)
    if world.first and recipe.days and ages:
        days.settle(recipe, recipe.days, ages, before, house, watch)
    if world.first:
        joined = bool(options.join and cards)
        if joined:
            moving.join(house.cast_path, name, cards[-1].address)
            console.print(f"{name} is {cards[-1].address} in {house.cast_path}")
        _report(recipe, house, cards, joins_as="" if joined else name, as_json=options.json)
    return launch.ended()


def _come(recipe: PostRecipe, console: Console) -> int | None:
    """Return how many ages of a recipe with [days] have come; None: it has none."""
    if recipe.days is None:
        return None
    found = days.come(recipe, recipe.days, datetime.now(UTC))
    if found == 0:
        console.print(f"nothing to do before {recipe.days.begins}, {recipe.lineage}'s first day")
    return found


def _report(recipe: PostRecipe, house: House, cards: list[AgeCard], *, joins_as: str, as_json: bool) -> None:
    from training.figure import Figure, table
    from training.post.keeping import FIGURES_FILE

    columns: list[tuple[str, list[Figure]]] = []
    for card in cards:
        lineage, _, name = card.address.partition("@")
        path = house.checkpoints / lineage / name / FIGURES_FILE
        found = json.loads(path.read_text("utf-8"))
        measured = {when: [Figure.model_validate(f) for f in found[when]] for when in ("before", "after")}
        if measured["before"] and not columns:
            columns.append((recipe.base, measured["before"]))
        if measured["after"]:
            columns.append((card.address, measured["after"]))
    if as_json:
        ages = [card.model_dump(mode="json", exclude={"recipe", "files"}) for card in cards]
        shown = {name: [figure.model_dump() for figure in figures] for name, figures in columns}
        print(json.dumps({"ages": ages, "figures": shown}))
        return
    for card in cards:
        print(f"{card.address:<28} {card.parameters:,} parameters")
    if columns:
        print_figures(table(columns))
    if cards:
        print(f"\nto let it speak: selves talk {cards[-1].address}")
    if cards and joins_as:
        table_of_it = moving.persona_table(joins_as, cards[-1].address)
        print(f"to let it join the cast: add --join, or write into {house.cast_path.name}\n\n{table_of_it}")


def print_figures(rows: list[list[str]]) -> None:
    """Print a table of figures, an age in each column, or in each row where there are many."""
    if len(rows[0]) > 4:
        rows = [list(column) for column in zip(*rows, strict=True)]
    shown = Table(*rows[0], box=None, pad_edge=False)
    for row in rows[1:]:
        shown.add_row(*row)
    Console(width=None if os.isatty(1) else 200, highlight=False).print(shown)
