"""`selves train traits show`, `plot` and `tell-apart`: what is known of selves, without loading any."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from textwrap import wrap

from selves.errors import AgeError, UsageError
from selves.files import write_file
from selves.lineage import Age, list_ages
from selves.settings import House
from training.traits.known import ask_again, beside_elders, reported
from training.traits.matrix import Matrix, short
from training.traits.pictures import draw, draw_confusion
from training.traits.results import Traits, read_traits
from training.traits.run import of_today
from training.traits.tables import lay_out
from training.traits.tell_apart import tell_apart


def _known(options: argparse.Namespace, ages: Sequence[Age]) -> dict[str, Traits]:
    """Return address -> trait -> what was found, of selves that were asked as one is asked today.

    What is older than today's questions is left out and named. Raises AgeError if nothing is left.
    """
    found = {age.card.address: traits for age in ages if (traits := read_traits(age))}
    current, old = of_today(found)
    who = [*options.who, *(["--all-ages"] if options.all_ages else [])]
    unasked = AgeError("none of these selves was asked yet", " ".join(["selves train traits run", *who]))
    if not current and not old:
        raise unasked
    if old:
        names = list(dict.fromkeys(name for names in old.values() for name in names))
        fix = "; ".join(filter(None, ask_again(who, names)))
        told = f"asked or judged otherwise than today, and left out: {_left_out(old)}"
        if not current:
            raise AgeError(told, fix)
        print(f"{told}\n  fix: {fix}", file=sys.stderr)
    if chosen := reported(current, getattr(options, "trait", None)):
        return chosen
    raise unasked


def _left_out(old: Mapping[str, Sequence[str]]) -> str:
    """Return what was left out, in few words: those of whom the same is missing stand together (pure)."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for address, names in old.items():
        alike.setdefault(tuple(names), []).append(address)
    return "; ".join(
        f"{', '.join(names)} of {', '.join(some) if len(some) < 4 else f'{some[0]} and {len(some) - 1} more'}"
        for names, some in alike.items()
    )


def _show(options: argparse.Namespace, ages: Sequence[Age], house: House) -> None:
    known = _known(options, ages)
    if options.json:
        shown = {
            address: {
                name: [figure.model_dump() for figure in found.figures] for name, found in traits.items()
            }
            for address, traits in known.items()
        }
        print(json.dumps(shown))
        return
    if options.trait and len(options.trait) == 1:
        figures = {who: found.figures for who, traits in known.items() for found in traits.values()}
        names = list(dict.fromkeys(figure.name for found in figures.values() for figure in found))
        rows = [["", *names]]
        for who, found in figures.items():
            by_name = {figure.name: str(figure) for figure in found}
            rows.append([who, *(by_name.get(name, "") for name in names)])
        _print(rows, ())
        return
    matrix = _matrix(known, house)
    rows = [["", *(name.rpartition(".")[2] for name in matrix.traits)]]
    for who, row in matrix.cells.items():
        cells = (row.get(name) for name in matrix.traits)
        rows.append([who, *(f"{short(cell.figure)}{cell.mark or ' '}" if cell else "" for cell in cells)])
    _print(rows, (*matrix.foot, f"{matrix.asked}."))


def _matrix(known: Mapping[str, Traits], house: House) -> Matrix:
    """Return the first figures of all selves, each beside that of whom it was raised from."""
    cards = {age.card.address: age.card for age in list_ages(house.checkpoints, away=True)}
    return beside_elders(known, cards)


def _print(rows: Sequence[Sequence[str]], foot: Sequence[str]) -> None:
    """Print a table: as wide as the terminal, or as it is where it goes to a file."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10**6
    notes = [line for sentence in foot for line in wrap(sentence, min(width, 100), break_on_hyphens=False)]
    print("\n".join([*lay_out(rows, width), *([""] if notes else []), *notes]))


def _plot(options: argparse.Namespace, ages: Sequence[Age], house: House) -> None:
    write_file(options.output, draw(_matrix(_known(options, ages), house)))
    print(options.output)


def _tell_apart(options: argparse.Namespace, ages: Sequence[Age], _: House) -> None:
    said = {
        address: traits["prose"].said
        for address, traits in _known(options, ages).items()
        if "prose" in traits
    }
    if len(said) < 2:
        raise UsageError(
            f"it takes two selves that said something, and here is {', '.join(said) or 'none'}",
            "name more, and let them be asked: selves train traits run --trait prose",
        )
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
    rows = [["said by", *(str(at) for at in range(1, len(told.selves) + 1))]]
    for at, (name, row) in enumerate(zip(told.selves, told.confusion, strict=True), 1):
        rows.append([f"{at:>2} {name}", *(str(number or "·") for number in row)])
    _print(
        rows,
        (
            "Columns: who was named, by the numbers of the rows.",
            f"{told.accuracy:.0%} of {told.n} right ({low:.0%} to {high:.0%}); by chance {told.chance:.0%}",
        ),
    )


VERBS: dict[str, Callable[[argparse.Namespace, Sequence[Age], House], None]] = {
    "show": _show,
    "plot": _plot,
    "tell-apart": _tell_apart,
}
