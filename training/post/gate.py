"""Whether a new self may stay: the same questions to it and to the one before, and what may not break."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from selves.errors import TrainingError
from selves.lineage import Age
from training.post import data, figures, models
from training.post.figures import Figure
from training.post.recipe import Data, PostRecipe
from training.post.rows import Row, said


class Compared(NamedTuple):
    """One figure of the self before, and of the new one."""

    before: Figure
    after: Figure
    broken: bool


def is_broken(before: Figure, after: Figure, margin: float) -> bool:
    """Whether a figure is worse by more than chance, and a share by more than `margin` (pure).

    A share has to lie outside the interval that it had; of anything else the two intervals must lie apart.
    """
    if any(math.isnan(number) for number in (after.value, after.low, after.high)):
        return True
    if not after.higher_is_better:
        return after.low > before.high
    if not after.share:
        return after.high < before.low
    return before.value - after.value > margin and after.value < before.low


def compare(before: Sequence[Figure], after: Sequence[Figure], margin: float) -> list[Compared]:
    """Put the figures of the same name beside each other (pure).

    Raises TrainingError if there is none, or one that was there before is not there after.
    """
    found = {figure.name: figure for figure in after}
    missing = [old.name for old in before if old.name not in found]
    if missing or not before:
        raise TrainingError(
            f"{', '.join(missing) or 'nothing'} could be measured of both selves, so none of them may stay",
            "name suites in [gate]",
        )
    return [Compared(old, found[old.name], is_broken(old, found[old.name], margin)) for old in before]


def measure(age: Age, recipe: PostRecipe, tests: Sequence[tuple[str, Sequence[Row]]]) -> list[Figure]:
    """Return the recipe's suites and, by its method, the named rows, of an age. Raises AgeError."""
    plain = recipe.model_copy(update={"lora": None})
    only_rows = plain.model_copy(update={"probes": plain.probes.model_copy(update={"suites": ()})})
    with TemporaryDirectory() as scratch, models.quietly():
        base = models.open_base(plain, age, Path(scratch))
        model = models.load(base, recipe.seed)
        told = (model, base.tokenizer, base.ends, base.form)
        found = figures.measure(plain, *told, [])
        for name, rows in tests:
            for figure in figures.measure(only_rows, *told, rows):
                found.append(figure.model_copy(update={"name": f"{name}: {figure.name}"}))
    return found


def held_out(recipe: PostRecipe, folder: Path, learned: Collection[str] = ()) -> list[Row]:
    """Return the rows that an export of memory's holds out, but those whose prompt was learned meanwhile.

    Raises CorpusError.
    """
    rows = data.prepare(recipe.model_copy(update={"data": (Data(folder=str(folder)),)})).test
    return [row for row in rows if said(row["prompt"]) not in learned]


def learned(recipe: PostRecipe) -> set[str]:
    """Return the prompts that a recipe learns answers to. Raises CorpusError."""
    return {said(row["prompt"]) for row in data.prepare(recipe).train}
