"""`selves evals`: measure ages by small tasks, show what came out, draw it, or hand an age to lm-eval."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from selves.cli import count, make_parser
from selves.errors import AgeError, CorpusError, UsageError, no_lineage
from selves.files import write_file
from selves.lineage import Age, find_age, list_ages
from selves.settings import House
from training.evals.plot import Curve, Point, draw
from training.evals.results import Result, Results, read_results

EXAMPLES = """
selves evals run                              every age, every suite; what is known is not measured again
selves evals run ember --suite agreement --suite facts
selves evals run smollm2@import-000000 --text ember     on the text that ember was raised on
selves evals run ember --suite my_module:colours        your own suite
selves evals show ember                       a table; --json for programs
selves evals plot ember -o ember.svg          curves over its life
selves evals lm-eval ember@base-000800 --tasks arc_easy,hellaswag -- --limit 100
"""


def main(argv: Sequence[str]) -> int | None:
    cut = list(argv).index("--") if "--" in argv else len(argv)
    options = _parser().parse_args(argv[:cut])
    more = list(argv[cut + 1 :])
    if more and options.verb != "lm-eval":
        raise UsageError(f"what stands after -- is for lm-eval: {' '.join(more)}", "leave it out")
    house = House.from_environment()
    match options.verb:
        case "run":
            return _run(options, house)
        case "show":
            _show(options, house)
        case "plot":
            _plot(options, house)
        case _:
            from training.evals.lm_eval import run_lm_eval

            age = find_age(house.checkpoints, options.address)
            return run_lm_eval(age, options.tasks, more, dry_run=options.dry_run)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("selves evals", "Measure ages by small tasks with known answers.", EXAMPLES)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="run|show|plot|lm-eval")
    running = verbs.add_parser("run", help="measure ages; goes on where it was stopped")
    running.add_argument("what", nargs="*", metavar="ADDRESS|LINEAGE", help="default: every age there is")
    running.add_argument(
        "--suite", action="append", metavar="NAME", help="a suite, or module:function; may be repeated"
    )
    running.add_argument("--items", type=count, default=100, help="of each suite (default: 100)")
    running.add_argument("--text", metavar="LINEAGE", help="ask about the text of this lineage")
    running.add_argument("--again", action="store_true", help="measure even what is known")
    showing = verbs.add_parser("show", help="what came out")
    showing.add_argument("lineage")
    showing.add_argument("--json", action="store_true", help="print JSON")
    plotting = verbs.add_parser("plot", help="draw it as an SVG")
    plotting.add_argument("lineage")
    plotting.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.svg")
    plotting.add_argument(
        "--stage", action="append", metavar="STAGE", help="only ages of this stage; may be repeated"
    )
    asking = verbs.add_parser("lm-eval", help="run tasks of EleutherAI's lm-evaluation-harness on an age")
    asking.add_argument("address")
    asking.add_argument(
        "--tasks", required=True, help="such as arc_easy,hellaswag; what follows -- goes to lm_eval"
    )
    asking.add_argument("--dry-run", action="store_true", help="only print the command")
    return parser


def _run(options: argparse.Namespace, house: House) -> int:
    ages = _ages(options.what, house)
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    from training.evals.items import Text
    from training.evals.run import SUITES, evaluate_age, find_suite
    from training.evals.text import text_of, text_of_lineage

    sys.path.insert(0, str(Path.cwd()))  # where suites of one's own are
    suites = [find_suite(name) for name in options.suite or SUITES]
    asks_about_text = any(suite.uses_text for suite in suites)
    failed = 0
    texts: dict[str, Text] = {}
    if options.text and asks_about_text:
        texts[options.text] = text_of_lineage(options.text, house, console.print)
    for number, age in enumerate(ages, 1):
        lineage = options.text or age.address.lineage
        if lineage not in texts:
            try:
                known = asks_about_text and age.card.origin == "trained"
                texts[lineage] = text_of(age.card.recipe, house, console.print) if known else Text()
            except (AgeError, CorpusError) as error:
                console.print(
                    f"the text of {lineage} cannot be read, so suites about it are left out: {error}"
                )
                texts[lineage] = Text()
        tell = partial(_tell, console, f"[{number}/{len(ages)}]")
        try:
            evaluate_age(
                age.folder,
                [suite.name for suite in suites],
                options.items,
                text=texts[lineage],
                again=options.again,
                tell=tell,
            )
        except AgeError as error:
            tell(f"{age.card.address}: {error}")
            failed += 1
    if failed:
        console.print(f"{failed} of {len(ages)} ages could not be measured")
    return 1 if failed else 0


def _tell(console: Console, place: str, line: str) -> None:
    console.print(f"{place} {line}")


def _ages(names: Sequence[str], house: House) -> list[Age]:
    """Return the ages that are meant, each once. Raises AgeError, UsageError."""
    everyone = list_ages(house.checkpoints)
    if not names:
        if not everyone:
            raise AgeError(f"there are no ages in {house.checkpoints}", "selves train run recipes/demo.toml")
        return everyone
    found: dict[str, Age] = {}
    for name in names:
        mine = [age for age in everyone if age.address.lineage == name]
        for age in mine or [find_age(house.checkpoints, _address(name, everyone))]:
            found[age.card.address] = age
    return list(found.values())


def _address(name: str, everyone: list[Age]) -> str:
    if "@" not in name:
        raise no_lineage(name, (age.address.lineage for age in everyone))
    return name


def _measured(lineage: str, house: House) -> tuple[list[Age], Results, list[str]]:
    """Return a lineage's ages, their results and suites in order. Raises AgeError if nothing was measured.

    Results of weights that are no more, as of a lineage that was begun anew, are not among them.
    """
    kept = read_results(house.checkpoints / lineage)
    results: Results = {}
    everyone = list_ages(house.checkpoints, lineage)
    for age in everyone:
        found = kept.get(age.card.address, {})
        mine = {suite: r for suite, r in found.items() if r.weights_sha256 == age.card.weights_sha256}
        if mine:
            results[age.card.address] = mine
    if not results:
        raise AgeError(f"nothing of {lineage} was measured yet", f"selves evals run {lineage}")
    ages = [age for age in everyone if age.card.address in results]
    suites = list(dict.fromkeys(suite for found in results.values() for suite in found))
    return ages, results, suites


def _show(options: argparse.Namespace, house: House) -> None:
    ages, results, suites = _measured(options.lineage, house)
    if options.json:
        shown = {
            age.card.address: {s: r.model_dump(mode="json") for s, r in results[age.card.address].items()}
            for age in ages
        }
        print(json.dumps(shown))
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("address", no_wrap=True)
    for suite in suites:
        table.add_column(suite.replace("_", " "), justify="right")
    for age in ages:
        found = results[age.card.address]
        table.add_row(age.card.address, *(_figure(found.get(suite)) for suite in suites))
    table.add_row("chance", *(_chance(suite, ages, results) for suite in suites), style="dim")
    Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False).print(table)


def _figure(result: Result | None) -> str:
    if result is None:
        return ""
    half = (result.high - result.low) / 2
    if result.higher_is_better:
        return f"{result.score * 100:.0f} ±{half * 100:.0f} %"
    return f"{result.score:.3f} ±{half:.2f}"


def _chance(suite: str, ages: list[Age], results: Results) -> str:
    known = [found[suite].chance for age in ages if suite in (found := results[age.card.address])]
    first = next((chance for chance in known if chance is not None), None)
    return "" if first is None else f"{first:.0%}"


def _plot(options: argparse.Namespace, house: House) -> None:
    ages, results, suites = _measured(options.lineage, house)
    ages = [age for age in ages if options.stage is None or age.address.stage in options.stage]
    if not ages:
        raise UsageError(f"nothing of these stages of {options.lineage} was measured: {options.stage}")
    by_tokens = all(age.card.tokens_seen or age.address.step == 0 for age in ages)
    shares: list[Curve] = []
    bits: list[Curve] = []
    for suite in suites:
        stages: dict[str, list[Point]] = {}
        chance: float | None = None
        higher = True
        for age in ages:
            result = results[age.card.address].get(suite)
            if result is not None:
                x = float(age.card.tokens_seen if by_tokens else age.address.step)
                point = Point(x, result.score, result.low, result.high, age.card.address)
                stages.setdefault(age.address.stage, []).append(point)
                chance, higher = result.chance, result.higher_is_better
        for stage, points in stages.items():
            (shares if higher else bits).append(Curve(suite, stage, tuple(points), chance))
    unit = "tokens seen" if by_tokens else "step"
    write_file(options.output, draw(f"{options.lineage} by age", unit, shares, bits))
    print(options.output)
