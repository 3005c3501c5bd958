"""Whether a new self may stay: the same questions to it and to those before, and what may not break.

It is held to the best that any of them was, since each might lose a little, and all of them everything. What
two selves were asked alike is compared item by item, which is much sharper than two intervals beside each
other.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import pstdev
from tempfile import TemporaryDirectory
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from selves.errors import TrainingError
from selves.files import sha256_file, sha256_text, write_file
from selves.lineage import Age
from selves.speech import seed_from
from training.evals.items import bootstrap
from training.evals.run import find_suite
from training.figure import Figure
from training.post import data, figures, models
from training.post.recipe import Data, PostRecipe
from training.post.rows import Row, fingerprint

KNOWN = TypeAdapter(dict[str, list[Figure]])

FEW = 8
"""Of fewer items than this a bootstrapped interval is too narrow."""


class Compared(NamedTuple):
    """One figure of the self before that was best in it, and of the new one."""

    than: str
    """Who that was."""
    before: Figure
    after: Figure
    broken: bool


def is_broken(before: Figure, after: Figure, margin: float) -> bool:
    """Whether a figure is worse by more than chance, and by more than `margin` (pure).

    A share may fall by so much, anything else by so many of the standard deviations that its items had. Where
    it is not known what each item got, a share has to lie outside the interval that it had, and of anything
    else the two intervals have to lie apart.

    Fewer than `FEW` items are too few to be resampled, so they are held against all ways in which their
    changes could have had other signs (Fisher 1935, The Design of Experiments). Fewer than six can never
    show that anything is worse.
    """
    if any(math.isnan(number) for number in (after.value, after.low, after.high)):
        return True
    sign = 1 if after.higher_is_better else -1
    if before.each and len(before.each) == len(after.each):
        gains = [sign * (new - old) for old, new in zip(before.each, after.each, strict=True)]
        room = margin if after.share else margin * pstdev(before.each)
        return -sum(gains) / len(gains) > room and _is_loss(gains, after.name)
    if not after.higher_is_better:
        return after.low > before.high
    if not after.share:
        return after.high < before.low
    return before.value - after.value > margin and after.value < before.low


def _is_loss(gains: Sequence[float], name: str) -> bool:
    if len(gains) >= FEW:
        return bootstrap([(gain, 1.0) for gain in gains], random.Random(seed_from("gate", name)))[1] < 0
    sums = [math.fsum(signed) for signed in product(*((gain, -gain) for gain in gains))]
    return sum(one <= sums[0] for one in sums) <= 0.025 * len(sums)


def compare(before: Mapping[str, Sequence[Figure]], after: Sequence[Figure], margin: float) -> list[Compared]:
    """Put each figure beside the best that one of those before had, by address (pure).

    Raises TrainingError if there is none, or one that was there before is not there after.
    """
    found = {figure.name: figure for figure in after}
    best: dict[str, tuple[str, Figure]] = {}
    for address, old in ((address, figure) for address, some in before.items() for figure in some):
        sign = 1 if old.higher_is_better else -1
        known = best.get(old.name)
        if not math.isnan(old.value) and (known is None or sign * (old.value - known[1].value) > 0):
            best[old.name] = (address, old)
    asked = {figure.name for some in before.values() for figure in some}
    missing = sorted(name for name in asked if name not in found or name not in best)
    if missing or not best:
        raise TrainingError(
            f"{', '.join(missing) or 'nothing'} could be measured of both selves, so none of them may stay",
            "name suites in [gate]",
        )
    return [
        Compared(address, old, found[name], is_broken(old, found[name], margin))
        for name, (address, old) in best.items()
    ]


def measure(
    age: Age, recipe: PostRecipe, tests: Sequence[tuple[str, Sequence[Row]]], known: Path
) -> list[Figure]:
    """Return the recipe's suites and, by its method, the named rows, of an age.

    What stands in the file `known`, as the same weights were asked the same, is not asked again.
    Raises AgeError, DiskError; TrainingError if that file is damaged.
    """
    plain = recipe.model_copy(update={"lora": None})
    earlier = _read(known)
    asked = {_key(age, *one): one for one in _parts(plain, tests)}
    if new := asked.keys() - earlier.keys():
        with TemporaryDirectory() as scratch, models.quietly():
            base = models.open_base(plain, age, Path(scratch))
            model = models.placed(models.load(base, recipe.seed))
            for key in sorted(new):
                _, part, rows = asked[key]
                earlier[key] = figures.measure(part, model, base.tokenizer, base.ends, base.form, rows)
        _write(known, earlier)
    return [
        figure.model_copy(update={"name": f"{name}: {figure.name}" if name else figure.name})
        for key, (name, _, _) in asked.items()
        for figure in earlier[key]
    ]


def _parts(
    recipe: PostRecipe, tests: Sequence[tuple[str, Sequence[Row]]]
) -> Iterator[tuple[str, PostRecipe, Sequence[Row]]]:
    """Yield what is asked, each with the name of its figures and a recipe that asks nothing else."""
    for suites, name, rows in (
        *(((suite,), "", ()) for suite in recipe.probes.suites),
        *(((), name, rows) for name, rows in tests),
    ):
        probes = recipe.probes.model_copy(update={"suites": suites})
        yield name, recipe.model_copy(update={"probes": probes}), rows


def _key(age: Age, _: str, recipe: PostRecipe, rows: Sequence[Row]) -> str:
    template = sha256_file(Path(recipe.template)) if recipe.template else ""
    versions = [find_suite(name).version for name in recipe.probes.suites]
    told = [recipe.method, recipe.probes.model_dump(mode="json"), versions, template, fingerprint(rows)]
    return sha256_text(json.dumps([age.card.weights_sha256, *told]))


def _read(path: Path) -> dict[str, list[Figure]]:
    try:
        return KNOWN.validate_json(path.read_bytes()) if path.exists() else {}
    except (OSError, ValidationError) as error:
        raise TrainingError(f"{path} is damaged", "delete it: all is asked again") from error


def _write(path: Path, found: Mapping[str, Sequence[Figure]]) -> None:
    told = {
        key: [figure.model_dump() | {"each": figure.each} for figure in some] for key, some in found.items()
    }
    write_file(path, json.dumps(told))


def held_out(recipe: PostRecipe, folder: Path, learned: data.Learned) -> list[Row]:
    """Return the rows that an export of memory's holds out, but those that were learned meanwhile, or in a
    group with them.

    Raises CorpusError.
    """
    rows = data.prepare(recipe.model_copy(update={"data": (Data(folder=str(folder)),)})).test
    return [row for row in rows if learned.is_new(row)]
