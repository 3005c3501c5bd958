"""`selves train traits duel`: who answers better, judged by another age or by who is at the keyboard."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import suppress

from rich.console import Console

from selves.errors import UsageError
from selves.lineage import Age, list_ages
from selves.settings import House
from training.datasets import jokes
from training.datasets.constitution import lines
from training.figure import table
from training.post import judging
from training.post.models import quietly
from training.traits import duels
from training.traits.asking import Asked
from training.traits.cli import FUNNIER, ME, find_ages
from training.traits.votes import Votes

SEED = 1


class Enough(Exception):
    """Who judges has had enough."""


def duel(options: argparse.Namespace, ages: Sequence[Age], house: House, console: Console) -> None:
    """Let two selves answer, a judge decide, and print how often the first won.

    Raises UsageError, AgeError, CorpusError, DiskError.
    """
    if not 1 <= len(ages) <= 2:
        raise UsageError("a duel is between two selves", "selves train traits duel jest smollm2")
    if options.output and options.prompts is None:
        raise UsageError("what a trait asks is not to be learned", "name prompts of your own: --prompts FILE")
    prompts = lines(str(options.prompts)) if options.prompts else [a for a, _ in jokes.jokes("probe")]
    who = None if options.judge == ME else find_ages([options.judge], house, every=False)[0]
    votes = Votes(options.output, who.card.address if who else ME, options.better)
    names = [age.card.address for age in (ages[0], ages[-1])]
    with quietly():
        if who is None:
            choose = _choose(console, options.better)
            judge, exam = votes.remembered(duels.blind_judge(choose, SEED)), []
        else:
            judge = _judging(who, options.better, ages, house)
            exam = duels.examined(judge) if options.better == FUNNIER else []
        if not duels.passed(exam):
            found = ", ".join(f"{figure.name}: {figure}" for figure in exam)
            raise UsageError(
                f"{votes.judge} is no judge of what is funny: it has to be above chance in both; {found}",
                "name a stronger age, or judge yourself: --judge me",
            )
        one = Asked(ages[0])
        other = one if len(ages) == 1 else Asked(ages[1])
        fought = []
        with suppress(Enough):
            for each in duels.fought(prompts, duels.answers(one, other, prompts, options.most), judge):
                votes.add(each)
                fought.append(each)
    if options.output:
        console.print(f"rows added to {options.output}: {votes.added}")
    if not any(each.verdict.lead for each in fought):
        raise UsageError("nothing was decided: of no prompt is one answer better", "ask them something else")
    results = [*duels.figures(fought), *exam]
    if options.json:
        print(json.dumps({"selves": names, "figures": [figure.model_dump() for figure in results]}))
        return
    print(f"{names[0]} against {names[1] if len(ages) == 2 else 'itself'}")
    for name, value in table([("", results)])[1:]:
        print(f"{name:<44} {value}")


def _judging(age: Age, better: str, ages: Sequence[Age], house: House) -> duels.Judge:
    """Return an age as a judge. Raises UsageError where it is kin to whom it would judge."""
    cards = [one.card for one in list_ages(house.checkpoints, away=True)]
    for other in ages:
        if kinship := duels.kinship(age.card, other.card, cards):
            raise UsageError(f"{kinship}, so it is no judge of it", "name another age, or --judge me")
    if (age.folder / judging.HEAD_FILE).exists():
        return duels.number_judge(judging.open_judge(house, age.card.address).scores)
    return duels.age_judge(Asked(age), better)


def _choose(console: Console, better: str) -> duels.Choose:
    """Return a judge at the keyboard, who raises Enough when they have had it."""

    def choose(prompt: str, first: str, second: str) -> int:
        console.print(f"\n{prompt}\n  1: {first}\n  2: {second}")
        said = None
        while said not in ("1", "2", ""):
            try:
                said = console.input(f"Which is {better}? 1, 2, Enter for neither, q to stop: ").strip()
            except (EOFError, KeyboardInterrupt) as error:
                console.print()
                raise Enough from error
            if said == "q":
                raise Enough
        return int(said) - 1 if said else -1

    return choose
