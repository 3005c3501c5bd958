"""Whether a new self may stay: the same questions to it and to the one before, and what may not break."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from selves.lineage import Age
from training.post import data, figures, models
from training.post.figures import Figure
from training.post.recipe import Data, PostRecipe
from training.post.rows import Row


class Compared(NamedTuple):
    """One figure of the self before, and of the new one."""

    before: Figure
    after: Figure
    broken: bool


def is_broken(before: Figure, after: Figure, margin: float) -> bool:
    """Whether a figure is worse by more than chance, and a share by more than `margin` (pure).

    A share has to lie outside the interval that it had; of anything else the two intervals must lie apart.
    """
    if not after.higher_is_better:
        return after.low > before.high
    if not after.share:
        return after.high < before.low
    return before.value - after.value > margin and after.value < before.low


def compare(before: Sequence[Figure], after: Sequence[Figure], margin: float) -> list[Compared]:
    """Put the figures of the same name beside each other (pure)."""
    old = {figure.name: figure for figure in before}
    return [
        Compared(old[new.name], new, is_broken(old[new.name], new, margin))
        for new in after
        if new.name in old
    ]


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


def held_out(recipe: PostRecipe, folder: Path) -> list[Row]:
    """Return the rows that an export of memory's holds out. Raises CorpusError."""
    return data.prepare(recipe.model_copy(update={"data": (Data(folder=str(folder)),)})).test
