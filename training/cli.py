"""`selves train run RECIPE`: raise a self, keeping every age. Running it again goes on where it stopped."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from selves.cli import make_parser
from selves.errors import CorpusError, UsageError
from selves.lineage import find_age
from selves.settings import House
from training.plan import STAGES, Plan, fresh_start, make_plan
from training.recipe import Recipe, Source, load_recipe
from training.watch import Watch

EXAMPLES = """
selves train run recipes/demo.toml                        raise Ember; again: go on where it stopped
selves train run recipes/demo.toml --dry-run              say what would be done, and do nothing
selves train run recipes/demo.toml --text my-texts --lineage willow    another self, from your own texts
selves train run recipes/demo.toml --hub roneneldan/TinyStories --lineage story
"""


def main(argv: Sequence[str]) -> int | None:
    options = _parser().parse_args(argv)
    house = House.from_environment()
    recipe = _recipe(options)
    console = Console(stderr=True)
    if options.fresh and not options.dry_run:
        for address in fresh_start(recipe, house):
            console.print(f"deleted {address}", style="yellow", highlight=False)
    plan = make_plan(recipe, house)
    stages = [stage for stage in STAGES if stage in (options.stage, *(STAGES if not options.stage else ()))]
    if options.dry_run:
        print(_describe(recipe, plan, stages, house))
        return 0
    left = [stage for stage in stages if not plan.finished(stage)]
    if left == ["chat"] and not plan.finished("base"):
        raise UsageError(
            "the chat stage needs the finished base stage", "leave out --stage, or run --stage base"
        )
    if left:
        _train(recipe, house, left, Watch(console), options.threads)
    else:
        console.print(f"nothing to do: {recipe.lineage} has all its ages", style="green", highlight=False)
    _report(house, stages, plan, as_json=options.json)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("selves train", "Raise a self from random weights, keeping every age.", EXAMPLES)
    run = parser.add_subparsers(dest="verb", required=True, metavar="run").add_parser(
        "run",
        help="train by a recipe, from the beginning or from where it stopped",
        epilog=f"examples:\n{EXAMPLES}".replace("\nselves", "\n  selves"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("recipe", type=Path, help="a TOML file such as recipes/demo.toml")
    text = run.add_mutually_exclusive_group()
    text.add_argument("--text", metavar="FOLDER", help="read your .txt, .md and .jsonl files instead")
    text.add_argument("--hub", metavar="NAME[@REVISION]", help="read a Hugging Face data set instead")
    run.add_argument("--lineage", metavar="NAME", help="call it something else than the recipe does")
    run.add_argument("--stage", choices=STAGES, help="only this stage")
    run.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    run.add_argument("--fresh", action="store_true", help="first DELETE this lineage's ages, naming each")
    run.add_argument("--threads", type=_positive, metavar="N", help="CPU threads (default: all cores)")
    run.add_argument("--json", action="store_true", help="print the ages as JSON at the end")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _recipe(options: argparse.Namespace) -> Recipe:
    """Read the recipe; options replace what they name."""
    recipe = load_recipe(options.recipe)
    changes: dict[str, object] = {}
    if options.text:
        changes["corpus"] = [Source(folder=options.text)]
    if options.hub:
        name, _, revision = options.hub.partition("@")
        changes["corpus"] = [Source(hub=name, revision=revision)]
    if options.lineage:
        changes["lineage"] = options.lineage
    try:
        return Recipe.model_validate(recipe.model_dump() | changes)
    except ValueError as error:
        raise UsageError(
            f"{options.lineage!r} cannot be a lineage's name", "use a-z, 0-9 and -, such as willow-2"
        ) from error


def _train(recipe: Recipe, house: House, stages: list[str], watch: Watch, threads: int | None) -> None:
    # Two threads that wait for each other by spinning are ruinous on a machine that others use too.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # read once, when torch loads OpenMP
    from training import base, chat

    if "base" in stages:
        base.train(recipe, house, watch, threads=threads)
    if "chat" in stages:
        try:
            chat.train(recipe, house, watch, threads=threads)
        except CorpusError as error:
            raise CorpusError(
                f"no conversations for the chat stage: {error.problem}",
                "the base ages are kept; run the same command again, or set `steps = 0` in [chat]",
            ) from error


def _describe(recipe: Recipe, plan: Plan, stages: list[str], house: House) -> str:
    from training.gpt import Shape, count_parameters

    model = recipe.model
    shape = Shape(
        model.vocabulary, model.width, model.depth, model.heads, model.head_dim, model.hidden, model.context
    )
    parameters = count_parameters(shape)
    size = parameters * (4 if recipe.kept_dtype == "float32" else 2)
    tokens = {
        "base": recipe.base.steps * recipe.base.batch_tokens,
        "chat": recipe.chat.steps * recipe.chat.batch_tokens,
    }
    lines = [
        f"{recipe.lineage}: {parameters:,} parameters, {model.depth} layers of {model.width}, "
        f"{model.context} tokens of context",
        f"reads: {', '.join(map(str, recipe.corpus))}",
    ]
    for stage in stages:
        if not plan.wanted[stage]:
            continue
        done = f", stands at step {plan.step}" if plan.stage == stage else ""
        steps = recipe.base.steps if stage == "base" else recipe.chat.steps
        lines.append(f"{stage}: {steps} steps, {tokens[stage]:,} tokens{done}")
        for address in plan.wanted[stage]:
            lines.append(f"  {address}  {'kept' if address in plan.kept else 'to be made'}")
    missing = sum(address not in plan.kept for stage in stages for address in plan.wanted[stage])
    lines.append(f"{missing} ages to be made, {missing * size / 1e6:.0f} MB in {house.checkpoints}")
    return "\n".join(lines)


def _report(house: House, stages: list[str], plan: Plan, *, as_json: bool) -> None:
    cards = [find_age(house.checkpoints, a).card for stage in stages for a in plan.wanted[stage]]
    if as_json:
        print(json.dumps([card.model_dump(mode="json", exclude={"recipe", "files"}) for card in cards]))
        return
    for card in cards:
        measured = "" if card.bits_per_byte is None else f"{card.bits_per_byte:.3f} bits/byte"
        print(f"{card.address:<28} {measured}")
