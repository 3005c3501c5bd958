"""`selves train traits`: ask every self the same, show traits by selves, draw them, and tell selves apart."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from selves.cli import count, make_parser
from selves.errors import AgeError, UsageError
from selves.lineage import Age, find_age, list_ages
from selves.settings import House

EXAMPLES = """
selves train traits run                               every self, every trait that is not known yet
selves train traits run jest smollm2 --trait funny
selves train traits run ember --trait prose --all-ages
selves train traits run jest --trait my_module:trait  a trait of your own
selves train traits show smollm2 jest flint willow    a table; what changed since whom they were raised from
selves train traits show jest --trait funny           all figures of one trait
selves train traits plot smollm2 jest flint -o traits.svg
selves train traits tell-apart smollm2 jest flint -o who-said-it.svg
selves train traits duel jest smollm2                 who is funnier? You judge, and are not told who is who
selves train traits duel jest smollm2 --judge elder@import-000000   a stronger age judges, if it can
selves train traits duel jest smollm2 --judge critic@reward-000080  one that gives numbers judges
selves train traits duel smollm2 --prompts mine.txt -o pairs.jsonl    two answers of one self; rows for dpo
"""


ME, FUNNIER = "me", "funnier"
"""Who judges, and what, if nothing is said."""


def main(argv: Sequence[str]) -> int | None:
    options = _parser().parse_args(argv)
    house = House.from_environment()
    ages = find_ages(options.who, house, every=options.all_ages)
    match options.verb:
        case "run":
            return _run(options, ages)
        case "duel":
            _duel(options, ages, house)
        case verb:
            from training.traits import show_cli

            show_cli.VERBS[verb](options, ages, house)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "selves train traits", "What selves are like, by the same questions to all.", EXAMPLES
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="run|show|plot|tell-apart|duel")
    running = verbs.add_parser("run", help="ask selves; goes on where it was stopped")
    running.add_argument("--trait", action="append", metavar="NAME", help="may be repeated (default: all)")
    running.add_argument("--again", action="store_true", help="ask even what is known")
    showing = verbs.add_parser("show", help="traits by selves as a table, and what changed")
    showing.add_argument(
        "--trait", action="append", metavar="NAME", help="may be repeated; of one alone, all its figures"
    )
    plotting = verbs.add_parser("plot", help="traits by selves as an SVG")
    plotting.add_argument("--trait", action="append", metavar="NAME", help="may be repeated (default: all)")
    plotting.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.svg")
    telling = verbs.add_parser("tell-apart", help="name who said what, by a classifier of half of it")
    telling.add_argument("-o", "--output", type=Path, metavar="FILE.svg", help="draw who is taken for whom")
    fighting = verbs.add_parser("duel", help="let two selves answer, and a judge say who does it better")
    fighting.add_argument(
        "--judge",
        default=ME,
        metavar="ADDRESS|LINEAGE",
        help="an age that is no kin of either (default: me, you)",
    )
    fighting.add_argument(
        "--better", default=FUNNIER, metavar="WORD", help=f"what is judged (default: {FUNNIER})"
    )
    fighting.add_argument(
        "--prompts", type=Path, metavar="FILE", help="one on each line (default: the set-ups of `funny`)"
    )
    fighting.add_argument(
        "--most", type=count, default=28, metavar="N", help="tokens of an answer (default: 28)"
    )
    fighting.add_argument("-o", "--output", type=Path, metavar="FILE.jsonl", help="add rows for dpo to it")
    for verb in (running, fighting):
        verb.add_argument("--threads", type=count, metavar="N", help="CPU threads (default: all cores)")
    for verb in (showing, telling, fighting):
        verb.add_argument("--json", action="store_true", help="print JSON")
    fighting.add_argument("who", nargs="+", metavar="ADDRESS|LINEAGE", help="two selves, or one with itself")
    fighting.set_defaults(all_ages=False)
    for verb in (running, showing, plotting, telling):
        verb.add_argument("who", nargs="*", metavar="ADDRESS|LINEAGE", help="default: every lineage there is")
        verb.add_argument(
            "--all-ages", action="store_true", help="of lineages all ages, not the newest alone"
        )
    return parser


def find_ages(names: Sequence[str], house: House, *, every: bool) -> list[Age]:
    """Return the ages that are meant, each once. Raises AgeError, UsageError."""
    everyone = list_ages(house.checkpoints)
    if not everyone:
        raise AgeError(f"there are no ages in {house.checkpoints}", "selves train run recipes/demo.toml")
    lineages = list(dict.fromkeys(age.address.lineage for age in everyone))
    found: dict[str, Age] = {}
    for name in names or lineages:
        mine = [age for age in everyone if age.address.lineage == name]
        if not mine and "@" not in name:
            raise UsageError(f"there is no lineage {name!r}", f"lineages: {', '.join(lineages)}")
        for age in (mine if every else mine[-1:]) or [find_age(house.checkpoints, name)]:
            found[age.card.address] = age
    return list(found.values())


def _use(threads: int | None) -> None:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # read once, when torch loads OpenMP
    import torch

    if threads:
        torch.set_num_threads(threads)


def _console() -> Console:
    return Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


def _duel(options: argparse.Namespace, ages: Sequence[Age], house: House) -> None:
    _use(options.threads)
    from training.traits.duel_cli import duel

    duel(options, ages, house, _console())


def _run(options: argparse.Namespace, ages: Sequence[Age]) -> int:
    _use(options.threads)
    from training.traits.probes import TRAITS
    from training.traits.run import find_trait, know

    console = _console()
    traits = [find_trait(name) for name in options.trait or TRAITS]
    failed = 0
    for age in ages:
        try:
            know(age, traits, console.print, again=options.again)
        except (AgeError, UsageError) as error:
            console.print(f"{age.card.address}: {error}")
            failed += 1
    if failed:
        console.print(f"{failed} of {len(ages)} selves could not be asked")
    return 1 if failed else 0
