"""`selves train traits duel`: who answers better, judged by a stronger age or by who is at the keyboard."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from rich.console import Console

from selves.errors import UsageError
from selves.files import write_file
from selves.lineage import Age, find_age
from selves.settings import House
from training.datasets import jokes
from training.datasets.constitution import lines
from training.post.figures import table
from training.post.models import quietly
from training.traits import duels
from training.traits.asking import Asked
from training.traits.cli import FUNNIER, ME

SEED = 1


def duel(options: argparse.Namespace, ages: Sequence[Age], house: House, console: Console) -> None:
    """Let two selves answer, a judge decide, and print how often the first won.

    Raises UsageError, AgeError, CorpusError, DiskError.
    """
    if not 1 <= len(ages) <= 2:
        raise UsageError("a duel is between two selves", "selves train traits duel jest smollm2")
    if options.output and options.prompts is None:
        raise UsageError("what a trait asks is not to be learned", "name prompts of your own: --prompts FILE")
    prompts = lines(str(options.prompts)) if options.prompts else [a for a, _ in jokes.jokes("probe")]
    names = [age.card.address for age in (ages[0], ages[-1])]
    with quietly():
        one = Asked(ages[0])
        other = one if len(ages) == 1 else Asked(ages[1])
        judge = duels.blind_judge(_choose(console, options.better), SEED)
        if options.judge != ME:
            judge = duels.age_judge(Asked(find_age(house.checkpoints, options.judge)), options.better)
        exam = [duels.examined(judge)] if options.judge != ME and options.better == FUNNIER else []
        if exam and exam[0].low <= 0.5:
            raise UsageError(
                f"{options.judge} finds the punch line of a joke in {exam[0]}, which is no more than chance",
                "name a stronger age, or judge yourself: --judge me",
            )
        fought = duels.fought(prompts, duels.answers(one, other, prompts, options.most), judge)
    rows = [row for each in fought if (row := each.row(options.judge))]
    if options.output:
        write_file(options.output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        console.print(f"{len(rows)} rows in {options.output}")
    if not rows:
        raise UsageError("nothing was decided: of no prompt is one answer better", "ask them something else")
    found = [*duels.figures(fought), *exam]
    if options.json:
        print(json.dumps({"selves": names, "figures": [figure.model_dump() for figure in found]}))
        return
    for name, value in table([(names[0], found)])[1:]:
        print(f"{name:<34} {value}")


def _choose(console: Console, better: str) -> duels.Choose:
    """Return a judge at the keyboard; what is left when they have had enough stays undecided."""
    enough = False

    def choose(prompt: str, first: str, second: str) -> int:
        nonlocal enough
        said = "q" if enough else None
        if not enough:
            console.print(f"\n{prompt}\n  1: {first}\n  2: {second}")
        while said not in ("1", "2", "", "q"):
            try:
                said = console.input(f"Which is {better}? 1, 2, Enter for neither, q to stop: ").strip()
            except EOFError:
                said = "q"
        enough = said == "q"
        return int(said) - 1 if said in ("1", "2") else -1

    return choose
