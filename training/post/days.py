"""An age each day: a self that lives grows old, or walks any other ladder of ages, day by day to its end.

    [days]
    begins = 2027-03-01           the day of the first age
    timezone = "Europe/Berlin"
    persona = "Ember"             who lives by it: its address in the cast file becomes that of the day's age

`selves train post RECIPE` then makes those ages alone whose day has come; called again on the same day, by
cron or by hand, it makes nothing twice, and after days on which nobody called it, all that came meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from zoneinfo import ZoneInfo

from selves.cast import load_cast
from selves.errors import UsageError
from selves.lineage import Address, age_name, find_age
from selves.moving import move
from selves.settings import House
from training.post.recipe import Days, PostRecipe
from training.watch import Watch


def come(recipe: PostRecipe, days: Days, now: datetime) -> int:
    """Return how many ages of a recipe have come by a moment, which has a time zone (pure)."""
    today = now.astimezone(ZoneInfo(days.timezone)).date()
    return max(0, min(len(recipe.age_steps), (today - days.begins).days + 1))


def check(recipe: PostRecipe, days: Days, house: House) -> None:
    """Raise UsageError unless who lives by a recipe is in the cast, as its base or as one of its ages."""
    if not days.persona:
        return
    persona = load_cast(house.cast_path).find_persona(days.persona)
    if persona.address not in (recipe.base, *_addresses(recipe)):
        raise UsageError(
            f"{persona.name} is {persona.address}, neither {recipe.base} nor an age that comes of it here",
            f"give it {recipe.base} in {house.cast_path.name}, or name another persona in [days]",
        )


def here(recipe: PostRecipe, house: House) -> set[str]:
    """Return the addresses of a recipe's ages that are there."""
    folder = house.checkpoints / recipe.lineage
    return {address for address in _addresses(recipe) if (folder / address.partition("@")[2]).exists()}


def settle(
    recipe: PostRecipe, days: Days, count: int, before: Collection[str], house: House, watch: Watch
) -> None:
    """Let who lives by a recipe be the newest of the `count` ages that have come; say its last words once.

    `before` are those that were there before this was asked. Raises as `selves.moving.move`.
    """
    all_ages = _addresses(recipe)
    address = all_ages[count - 1]
    who = days.persona or recipe.lineage
    new = address not in before
    if address not in here(recipe, house):
        watch.warn(f"{address} is not here any more, so {who} stays as it is")
        return
    if days.persona and (new := move(house.cast_path, days.persona, address)):
        watch.tell(f"day {count} of {len(all_ages)}: {who} is {address} now")
    if new and count == len(all_ages):
        said = [writing.utterance.text.strip() for writing in find_age(house.checkpoints, address).writings()]
        last = next((text for text in reversed(said) if text), "")
        watch.tell(f"this was the last day of {who}; its last words: {last or '(none)'}")


def _addresses(recipe: PostRecipe) -> list[str]:
    return [str(Address(recipe.lineage, age_name(recipe.stage_name, step))) for step in recipe.age_steps]
