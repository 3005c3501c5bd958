"""What a recipe asks for against what is on disk: which ages are still to be made, and whether they may be.

Nothing here needs torch, so a run that is finished says so at once.
"""

from __future__ import annotations

import shutil
from typing import Any, NamedTuple

from selves.errors import TrainingError
from selves.files import PARTIAL_PREFIX
from selves.lineage import METRICS_FILE, Address, age_name, list_ages
from selves.settings import House
from training.checkpoint import STATE_FILE, STATE_FOLDER, only_trainer, read_progress
from training.recipe import Recipe, differences

STAGES = ("base", "chat")


class Plan(NamedTuple):
    """One lineage: what is wanted, what is kept, how far its training is."""

    wanted: dict[str, tuple[str, ...]]
    """Stage -> addresses, in order."""
    kept: frozenset[str]
    stage: str
    """Stage of the kept training state, "" if there is none."""
    step: int

    def finished(self, stage: str) -> bool:
        return self.kept.issuperset(self.wanted[stage])


def make_plan(recipe: Recipe, house: House) -> Plan:
    """Compare a recipe with what is kept. Raises TrainingError if kept ages came from another recipe."""
    wanted = {
        "base": tuple(str(Address(recipe.lineage, age_name("base", s))) for s in recipe.base.age_steps),
        "chat": tuple(str(Address(recipe.lineage, age_name("chat", s))) for s in recipe.chat.age_steps),
    }
    ages = list_ages(house.checkpoints, recipe.lineage)
    progress = read_progress(house.checkpoints / recipe.lineage)
    for age in ages:
        if age.card.origin == "trained" and age.address.stage in STAGES:
            _same_recipe(recipe, age.card.recipe, age.address.stage, f"{age.card.address} is kept")
    if progress is not None:
        _same_recipe(
            recipe, progress.recipe, progress.stage, f"a run waits at {progress.stage} {progress.step}"
        )
    return Plan(
        wanted=wanted,
        kept=frozenset(age.card.address for age in ages),
        stage=progress.stage if progress else "",
        step=progress.step if progress else 0,
    )


def _same_recipe(recipe: Recipe, made_by: dict[str, Any], stage: str, what: str) -> None:
    """What a later stage is told does not matter to an earlier one."""
    old, new = dict(made_by), recipe.model_dump(mode="json")
    if stage == "base":
        old.pop("chat", None)
        new.pop("chat")
    changed = differences(old, new)
    if changed:
        listing = "\n  ".join(changed)
        raise TrainingError(
            f"the recipe of {recipe.lineage} has changed since ({what}):\n  {listing}",
            f"change it back, or name another lineage (--lineage {recipe.lineage}-2), or --fresh to delete "
            f"{recipe.lineage} and begin anew",
        )


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
        (folder / METRICS_FILE).unlink(missing_ok=True)
    return deleted
