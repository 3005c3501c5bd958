"""What a recipe asks for against what is on disk: which ages are still to be made, and whether they may be.

Nothing here needs torch, so a run that is finished says so at once.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from selves.errors import TrainingError, UsageError
from selves.files import PARTIAL_PREFIX
from selves.lineage import DIARY_FILE, METRICS_FILE, Address, age_name, find_age, list_ages
from selves.settings import House
from training.checkpoint import STATE_FILE, STATE_FOLDER, only_trainer, read_progress
from training.evals.results import EVALS_FILE
from training.events import TENSORBOARD_FOLDER
from training.prune import PRUNED_FILE, pruned
from training.recipe import IDLE, Recipe, differences

STAGES = ("base", "young", "chat")


class Plan(NamedTuple):
    """One lineage: what is wanted, what is kept, how far its training is."""

    wanted: dict[str, tuple[str, ...]]
    """Stage -> addresses, in order."""
    kept: frozenset[str]
    """Addresses on disk, and those that were there and are pruned."""
    pruned: frozenset[str]
    stage: str
    """Stage of the kept training state, "" if there is none."""
    step: int

    def finished(self, stage: str) -> bool:
        return self.kept.issuperset(self.wanted[stage])


def make_plan(recipe: Recipe, house: House) -> Plan:
    """Compare a recipe with what is kept. Raises TrainingError if kept ages came from another recipe."""
    ages = list_ages(house.checkpoints, recipe.lineage)
    progress = read_progress(house.checkpoints / recipe.lineage)
    for age in ages:
        if age.card.origin == "trained" and age.address.stage in TRAINED:
            _same_recipe(recipe, age.card.recipe, age.address.stage, f"{age.card.address} is kept")
    if progress is not None:
        stage = progress.stage.partition("-")[0]
        _same_recipe(recipe, progress.recipe, stage, f"a run waits at {progress.stage} {progress.step}")
    gone = pruned(house.checkpoints / recipe.lineage)
    return Plan(
        wanted=wanted_ages(recipe, gone),
        kept=frozenset(age.card.address for age in ages) | gone,
        pruned=gone,
        stage=progress.stage if progress else "",
        step=progress.step if progress else 0,
    )


def wanted_ages(recipe: Recipe, gone: Collection[str] = ()) -> dict[str, tuple[str, ...]]:
    """Return the addresses of all ages that a recipe asks for, by stage, in order of making.

    Nothing young is made of base and settled ages that are `gone`.
    """

    def addresses(*ages: tuple[str, int]) -> tuple[str, ...]:
        return tuple(str(Address(recipe.lineage, age_name(stage, step))) for stage, step in ages)

    stages = ("settled", "young") if recipe.young.settle else ("young",)
    return {
        "base": addresses(*(("base", step) for step in recipe.base.age_steps)),
        "young": addresses(
            *(
                (stage, step)
                for step in recipe.young_steps
                for stage in stages
                if f"{recipe.lineage}@{age_name('base', step)}" not in gone
                and not (stage == "young" and f"{recipe.lineage}@{age_name('settled', step)}" in gone)
            )
        ),
        "chat": addresses(*(("chat", step) for step in recipe.chat.age_steps)),
    }


TRAINED = {"base": ("young", "chat"), "settled": ("chat",), "young": (), "chat": ("young",)}
"""Stage of an age -> tables of the recipe that do not matter to it."""


def kept_recipe(lineage: str, house: House) -> dict[str, Any] | None:
    """Return the recipe that a lineage was begun with; None if there is nothing of it."""
    progress = read_progress(house.checkpoints / lineage)
    if progress is not None:
        return progress.recipe
    trained = [age for age in list_ages(house.checkpoints, lineage) if age.card.origin == "trained"]
    return trained[-1].card.recipe if trained else None


def _same_recipe(recipe: Recipe, made_by: dict[str, Any], stage: str, what: str) -> None:
    """What a later stage is told does not matter to an earlier one."""
    changed = differences(_decisive(made_by, stage), _decisive(recipe.model_dump(mode="json"), stage))
    if changed:
        listing = "\n  ".join(changed)
        raise TrainingError(
            f"the recipe of {recipe.lineage} has changed since ({what}):\n  {listing}",
            f"change it back, or name another lineage (--lineage {recipe.lineage}-2), or --fresh to delete "
            f"{recipe.lineage} and begin anew",
        )


def _decisive(dumped: dict[str, Any], stage: str) -> dict[str, Any]:
    """Return those values of a dumped recipe that decide who an age of `stage` is."""
    try:  # one that was written before a key existed has that key's default
        whole = Recipe.model_validate(dumped).model_dump(mode="json")
    except ValidationError:
        whole = dict(dumped)
    for key in (*IDLE, *TRAINED[stage]):
        table, _, name = key.rpartition(".")
        part = whole.get(table) if table else whole
        if isinstance(part, dict):
            part.pop(name, None)
    return whole


def with_parents_model(recipe: Recipe, house: House, stated: Mapping[str, Any] | None = None) -> Recipe:
    """Return the recipe of a branch with its parent's [model], and what follows from that.

    `stated` are the tables that its file states, by default all of the recipe. Raises AgeError,
    TrainingError, and UsageError if they do not fit the parent.
    """
    if not recipe.parent:
        return recipe
    parent = find_age(house.checkpoints, recipe.parent)
    model = parent.card.recipe.get("model")
    if not model:
        raise TrainingError(
            f"{recipe.parent} cannot be trained on: it was not raised here",
            "name an age that `selves train run` made; `selves ages list` shows them",
        )
    if parent.address.lineage == recipe.lineage:
        raise TrainingError(
            f"{recipe.lineage} cannot branch off from itself", "give the branch a name of its own: `lineage`"
        )
    tables = dict(recipe.model_dump() if stated is None else stated) | {"model": model}
    try:
        return Recipe.model_validate(tables)
    except ValidationError as error:
        raise UsageError(
            f"{recipe.lineage} does not fit its parent {recipe.parent}: {error.errors()[0]['msg']}",
            "correct the recipe; `selves ages show` tells what its parent is",
        ) from error


def fresh_start(recipe: Recipe, house: House) -> list[str]:
    """Delete a lineage's trained ages, metrics and training state; return what was deleted.

    Ages leave the list one by one, each at once. Raises TrainingError while another process trains it.
    """
    folder = house.checkpoints / recipe.lineage
    deleted: list[str] = []
    with only_trainer(folder):
        (folder / STATE_FOLDER / STATE_FILE).unlink(missing_ok=True)
        for age in reversed(list_ages(house.checkpoints, recipe.lineage)):
            if age.card.origin == "trained":
                gone = age.folder.rename(folder / f"{PARTIAL_PREFIX}gone-{age.folder.name}")
                shutil.rmtree(gone)
                deleted.append(age.card.address)
        for name in (METRICS_FILE, DIARY_FILE, PRUNED_FILE, EVALS_FILE):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / TENSORBOARD_FOLDER, ignore_errors=True)
    return deleted
