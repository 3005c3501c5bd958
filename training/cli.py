"""`selves train run RECIPE`: raise a self, keeping every age. Running it again goes on where it stopped."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from rich.console import Console

from selves.cli import above_zero, make_parser
from selves.errors import CorpusError, UsageError
from selves.lineage import find_age
from selves.settings import House
from training import folders, launch
from training.plan import STAGES, Plan, fresh_start, kept_recipe, make_plan, with_parents_model
from training.recipe import Recipe, load_recipe
from training.watch import Watch

if TYPE_CHECKING:  # --help must not import torch
    from training.stage import Machine

EXAMPLES = """
selves train run recipes/demo.toml                        raise Ember; again: go on where it stopped
selves train run recipes/demo.toml --dry-run              what it would make, read, need and cost
selves train run recipes/demo.toml --text my-texts --lineage willow    another self, from your own texts
selves train run recipes/demo.toml --hub roneneldan/TinyStories --lineage story
selves train run recipes/tiny.toml --minutes 10           as many steps as ten minutes allow here
selves train run recipes/d12.toml --processes 8           one process per GPU, on this machine
torchrun --nnodes 2 ... -m selves train run recipes/d26.toml           on several machines
selves train post recipes/post/ageing.toml                another self of an age: selves train post --help
"""


def main(argv: Sequence[str]) -> int | None:
    options = _parser().parse_args(argv)
    # Two threads that wait for each other by spinning are ruinous on a machine that others use too.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # read once, when torch loads OpenMP
    house = House.from_environment()
    recipe = _recipe(options, house)
    if options.minutes and (begun := kept_recipe(recipe.lineage, house)) and not options.fresh:
        recipe, options.minutes = _with_steps(recipe, int(begun["base"]["steps"])), None
        print(f"{recipe.lineage} was begun with {recipe.base.steps} steps; that stays", file=sys.stderr)
    plan = make_plan(recipe, house) if not options.fresh or options.dry_run else None
    if options.dry_run and plan:
        for source in recipe.corpus if not plan.finished("base") else ():
            if source.folder:
                folders.files(Path(source.folder).expanduser(), house)
        print(describe(recipe, plan, _stages(options), house, options.minutes))
        return 0
    if plan and all(plan.finished(stage) for stage in _stages(options)):
        Console(stderr=True).print(f"nothing to do: {recipe.lineage} has all its ages", style="green")
        _report(house, _stages(options), plan, as_json=options.json)
        return 0
    if options.processes and not launch.is_launched():
        return launch.under_torchrun(options.processes, ["train", *argv])
    return _run(options, recipe, house)


def _run(options: argparse.Namespace, recipe: Recipe, house: House) -> int:
    """Train, as one of the processes that do; rank 0 reports."""
    from training import parallel
    from training.stage import Machine

    console = Console(stderr=True)
    with parallel.joined() as world:
        machine = Machine(world, options.threads or launch.threads(world), options.parallel)
        watch = Watch(console if world.first else None)
        for batch in (recipe.base.batch_tokens, recipe.chat.batch_tokens):
            parallel.check_shares(batch // recipe.model.context, world)
        if world.first and options.fresh:
            for address in fresh_start(recipe, house):
                watch.warn(f"deleted {address}")
        if options.minutes:
            recipe = _within(options.minutes, recipe, watch, machine)
        parallel.wait(world)
        plan = make_plan(recipe, house)
        left = [stage for stage in _stages(options) if not plan.finished(stage)]
        parallel.wait(world)  # all have looked before one of them makes the first age
        if left and left[0] != "base" and not plan.finished("base"):
            raise UsageError(
                f"the {left[0]} stage needs the finished base stage", "leave out --stage, or run --stage base"
            )
        _train(recipe, house, left, watch, machine)
    if world.first:
        _report(house, _stages(options), plan, as_json=options.json)
    return launch.ended()


def _stages(options: argparse.Namespace) -> list[str]:
    return [stage for stage in STAGES if options.stage in (None, stage)]


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("selves train", "Raise a self from random weights, keeping every age.", EXAMPLES)
    run = parser.add_subparsers(dest="verb", required=True, metavar="run").add_parser(
        "run",
        help="train by a recipe, from the beginning or from where it stopped",
        epilog=parser.epilog,
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
    run.add_argument(
        "--minutes",
        type=above_zero,
        metavar="M",
        help="choose the steps of [base] so that they take M minutes here",
    )
    launch.add_options(run)
    run.add_argument("--json", action="store_true", help="print the ages as JSON at the end")
    return parser


def _recipe(options: argparse.Namespace, house: House) -> Recipe:
    """Read the recipe; options replace what they name."""
    load_recipe(options.recipe)  # names the line of a mistake in the file
    tables = tomllib.loads(options.recipe.read_text("utf-8"))
    if options.text:
        tables["corpus"] = [{"folder": options.text}]
    if options.hub:
        name, _, revision = options.hub.partition("@")
        tables["corpus"] = [{"hub": name, "revision": revision}]
    if options.lineage:
        tables["lineage"] = options.lineage
    try:
        recipe = Recipe.model_validate(tables)
    except ValidationError as error:
        problem = error.errors()[0]
        if problem["loc"] == ("lineage",):
            raise UsageError(
                f"{options.lineage!r} cannot be a lineage's name", "use a-z, 0-9 and -, such as willow-2"
            ) from error
        raise UsageError(
            f"--text or --hub: {problem['msg']}", "such as --text my-texts or --hub roneneldan/TinyStories"
        ) from error
    return with_parents_model(recipe, house, tables)


def _within(minutes: float, recipe: Recipe, watch: Watch, machine: Machine) -> Recipe:
    """Return the recipe with as many steps of [base] as fit into the minutes on this machine."""
    from training import calibrate, parallel

    steps = None
    if machine.world.first:
        watch.tell("measuring how fast this machine is")
        steps = calibrate.steps_within(minutes, recipe, machine)
        watch.tell(f"{steps} steps of {recipe.base.batch_tokens} tokens in {minutes:g} minutes")
    return _with_steps(recipe, parallel.told(steps, machine.world))


def _with_steps(recipe: Recipe, steps: int) -> Recipe:
    return recipe.model_copy(update={"base": recipe.base.model_copy(update={"steps": steps})})


def _train(recipe: Recipe, house: House, stages: list[str], watch: Watch, machine: Machine) -> None:
    from training import base, chat, young

    if "base" in stages:
        base.train(recipe, house, watch, machine=machine)
    try:
        if "young" in stages:
            young.train(recipe, house, watch, machine=machine)
        if "chat" in stages:
            chat.train(recipe, house, watch, machine=machine)
    except CorpusError as error:
        raise CorpusError(
            f"no conversations for the chat stage: {error.problem}",
            "the base ages are kept; run the same command again, or set `steps = 0` in [chat]",
        ) from error


def describe(
    recipe: Recipe, plan: Plan, stages: list[str], house: House, minutes: float | None = None
) -> str:
    """Return what a run would do and cost, as lines of text; with `minutes`, what is known unmeasured."""
    from training import budget

    cost, model = budget.cost(recipe), recipe.model
    begins = f"begins as {recipe.parent}" if recipe.parent else f"seed {recipe.seed}"
    lines = [
        f"{recipe.lineage}: {cost.parameters:,} parameters, {model.depth} layers of {model.width}, "
        f"{model.context} tokens of context; {begins}",
        f"reads: {', '.join(map(str, recipe.corpus))}",
    ]
    for stage in stages:
        if not plan.wanted[stage]:
            continue
        stands = plan.stage.partition("-")[0] in ((stage, "settled") if stage == "young" else (stage,))
        done = f", stands at {plan.stage} step {plan.step}" if stands else ""
        if stage == "base" and minutes:
            told = (
                f"as many steps of {recipe.base.batch_tokens:,} as {minutes:g} minutes allow here; "
                "the run measures that first"
            )
        elif stage == "base":
            told = f"{recipe.base.steps} steps of {recipe.base.batch_tokens:,}, {cost.tokens:,} tokens"
        elif stage == "young":
            told = (
                f"each settled for {recipe.young.settle:.0%} of its steps, then {recipe.young.steps} of chat"
            )
        else:
            told = f"{recipe.chat.steps} steps of {recipe.chat.batch_tokens:,}"
        lines.append(f"{stage}: {told}{done}")
        if minutes and stage != "chat":  # which ages there are follows from the steps
            continue
        for address in plan.wanted[stage]:
            state = "pruned" if address in plan.pruned else "kept" if address in plan.kept else "to be made"
            lines.append(f"  {address}  {state}")
    if minutes:
        return "\n".join(lines)
    missing = sum(address not in plan.kept for stage in stages for address in plan.wanted[stage])
    lines.append(
        f"{missing} ages to be made, {_size(missing * cost.age_bytes)} in {house.checkpoints}, and "
        f"{_size(cost.state_bytes)} for the newest training state"
    )
    lines.append(f"base takes {cost.flops:.2g} operations and {_size(cost.memory_bytes)} besides activations")
    for machine in budget.ACCELERATORS if cost.flops > 1e16 else ():
        hours = cost.hours(machine.flops * machine.gpus * budget.SHARE_OF_PEAK)
        lines.append(
            f"  {machine.name}: about {_duration(hours)}, {hours * machine.dollars_per_hour:,.2f} dollars"
        )
    return "\n".join(lines)


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _duration(hours: float) -> str:
    return (
        f"{hours * 60:.0f} min" if hours < 2 else f"{hours:.0f} h" if hours < 72 else f"{hours / 24:.0f} days"
    )


def _report(house: House, stages: list[str], plan: Plan, *, as_json: bool) -> None:
    wanted = [a for stage in stages for a in plan.wanted[stage] if a not in plan.pruned]
    cards = [find_age(house.checkpoints, address).card for address in wanted]
    if as_json:
        print(json.dumps([card.model_dump(mode="json", exclude={"recipe", "files"}) for card in cards]))
        return
    for card in cards:
        measured = "" if card.bits_per_byte is None else f"{card.bits_per_byte:.3f} bits/byte"
        print(f"{card.address:<28} {measured}")
