"""`selves train traits`: ask every self the same, show traits by selves, draw them, and tell selves apart."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from selves.cli import make_parser
from selves.errors import AgeError, UsageError
from selves.files import write_file
from selves.lineage import Age, find_age, list_ages
from selves.settings import House

if TYPE_CHECKING:
    from training.traits.results import Traits

EXAMPLES = """
selves train traits run                               every self, every trait that is not known yet
selves train traits run jest smollm2 --trait funny
selves train traits run ember --trait prose --all-ages
selves train traits run jest --trait my_module:trait  a trait of your own
selves train traits show smollm2 jest flint willow    a table; the first is what the others are compared with
selves train traits show jest --trait funny           all figures of one trait
selves train traits plot smollm2 jest flint -o traits.svg
selves train traits tell-apart smollm2 jest flint -o who-said-it.svg
selves train traits duel jest smollm2                 who is funnier? You judge, and are not told who is who
selves train traits duel jest smollm2 --judge elder@import-000000   a stronger age judges
selves train traits duel smollm2 --prompts mine.txt -o pairs.jsonl    two answers of one self; rows for dpo
"""


ME, FUNNIER = "me", "funnier"
"""Who judges, and what, if nothing is said."""


def main(argv: Sequence[str]) -> int | None:
    options = _parser().parse_args(argv)
    house = House.from_environment()
    ages = _ages(options.who, house, every=options.all_ages)
    match options.verb:
        case "run":
            return _run(options, ages)
        case "show":
            _show(options, ages)
        case "plot":
            _plot(options, ages)
        case "duel":
            _duel(options, ages, house)
        case _:
            _tell_apart(options, ages)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "selves train traits", "What selves are like, by the same questions to all.", EXAMPLES
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="run|show|plot|tell-apart|duel")
    running = verbs.add_parser("run", help="ask selves; goes on where it was stopped")
    running.add_argument("--trait", action="append", metavar="NAME", help="may be repeated (default: all)")
    running.add_argument("--again", action="store_true", help="ask even what is known")
    showing = verbs.add_parser("show", help="traits by selves as a table")
    showing.add_argument("--trait", metavar="NAME", help="all figures of one trait, with their intervals")
    plotting = verbs.add_parser("plot", help="traits by selves as an SVG")
    plotting.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.svg")
    telling = verbs.add_parser("tell-apart", help="name who said what, by a classifier of half of it")
    telling.add_argument("-o", "--output", type=Path, metavar="FILE.svg", help="draw who is taken for whom")
    fighting = verbs.add_parser("duel", help="let two selves answer, and a judge say who does it better")
    fighting.add_argument(
        "--judge", default=ME, metavar="ADDRESS", help="an age that is stronger than both (default: me, you)"
    )
    fighting.add_argument(
        "--better", default=FUNNIER, metavar="WORD", help=f"what is judged (default: {FUNNIER})"
    )
    fighting.add_argument(
        "--prompts", type=Path, metavar="FILE", help="one on each line (default: the set-ups of `funny`)"
    )
    fighting.add_argument(
        "--most", type=_positive, default=28, metavar="N", help="tokens of an answer (default: 28)"
    )
    fighting.add_argument("-o", "--output", type=Path, metavar="FILE.jsonl", help="keep rows for dpo")
    for verb in (running, fighting):
        verb.add_argument("--threads", type=_positive, metavar="N", help="CPU threads (default: all cores)")
    for verb in (showing, telling, fighting):
        verb.add_argument("--json", action="store_true", help="print JSON")
    for verb in (running, showing, plotting, telling, fighting):
        verb.add_argument("who", nargs="*", metavar="ADDRESS|LINEAGE", help="default: every lineage there is")
        verb.add_argument(
            "--all-ages", action="store_true", help="of lineages all ages, not the newest alone"
        )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def _ages(names: Sequence[str], house: House, *, every: bool) -> list[Age]:
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
        newest = sorted(mine, key=lambda age: age.card.created_at)[-1:]
        for age in (mine if every else newest) or [find_age(house.checkpoints, name)]:
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
        except AgeError as error:
            console.print(f"{age.card.address}: {error}")
            failed += 1
    if failed:
        console.print(f"{failed} of {len(ages)} selves could not be asked")
    return 1 if failed else 0


def _known(ages: Sequence[Age]) -> dict[str, Traits]:
    """Return address -> trait -> what was found, of selves that were asked. Raises AgeError if none was."""
    from training.traits.results import read_traits

    found = {age.card.address: traits for age in ages if (traits := read_traits(age))}
    if not found:
        raise AgeError("none of these selves was asked yet", "selves train traits run")
    return found


def _show(options: argparse.Namespace, ages: Sequence[Age]) -> None:
    from training.post.figures import table
    from training.traits.matrix import short

    known = _known(ages)
    if options.json:
        shown = {
            address: {
                name: [figure.model_dump() for figure in found.figures]
                for name, found in traits.items()
                if options.trait in (None, name)
            }
            for address, traits in known.items()
        }
        print(json.dumps(shown))
        return
    if options.trait:
        columns = [
            (address, found.figures)
            for address, traits in known.items()
            if (found := traits.get(options.trait))
        ]
        rows = table(columns)
    else:
        names = list(dict.fromkeys(name for traits in known.values() for name in traits))
        rows = [["", *names]]
        for address, traits in known.items():
            cells = [short(traits[n].figures[0]) if n in traits else "" for n in names]
            rows.append([address, *cells])
    shown_table = Table(box=None, pad_edge=False, header_style="dim")
    for at, head in enumerate(rows[0]):
        shown_table.add_column(head, justify="left" if at == 0 else "right", no_wrap=True)
    for row in rows[1:]:
        shown_table.add_row(*row)
    width = None if sys.stdout.isatty() else 400
    Console(width=width, highlight=False, markup=False).print(shown_table)


def _plot(options: argparse.Namespace, ages: Sequence[Age]) -> None:
    from training.traits.matrix import draw

    known = _known(ages)
    selves = {
        address: {name: found.figures[0] for name, found in traits.items()}
        for address, traits in known.items()
    }
    traits = list(dict.fromkeys(name for row in selves.values() for name in row))
    write_file(options.output, draw(selves, traits))
    print(options.output)


def _tell_apart(options: argparse.Namespace, ages: Sequence[Age]) -> None:
    from training.traits.matrix import draw_confusion
    from training.traits.tell_apart import tell_apart

    said = {address: traits["prose"].said for address, traits in _known(ages).items() if "prose" in traits}
    if len(said) < 2:
        raise UsageError("it takes two selves that said something", "selves train traits run --trait prose")
    told = tell_apart(said)
    if options.output:
        write_file(options.output, draw_confusion(told))
    low, high = told.interval
    if options.json:
        answer = {
            "selves": told.selves,
            "confusion": told.confusion,
            "accuracy": told.accuracy,
            "low": low,
            "high": high,
            "chance": told.chance,
            "n": told.n,
        }
        print(json.dumps(answer))
        return
    shown = Table(box=None, pad_edge=False, header_style="dim")
    shown.add_column("said by")
    for name in told.selves:
        shown.add_column(name, justify="right")
    for name, row in zip(told.selves, told.confusion, strict=True):
        shown.add_row(name, *map(str, row))
    console = Console(width=None if sys.stdout.isatty() else 400, highlight=False, markup=False)
    console.print(shown)
    console.print(
        f"\n{told.accuracy:.0%} of {told.n} right ({low:.0%} to {high:.0%}); by chance {told.chance:.0%}"
    )
