"""Every self through every trait: what is known is not asked again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence

from selves.errors import SelvesError, UsageError
from selves.lineage import Age
from selves.speech import seed_from
from training.documents import import_named
from training.figure import Figure
from training.traits.items import Answer, Item, Pick, Say, Trait
from training.traits.probes import TRAITS, ask_sayings
from training.traits.results import Found, Traits, keep_trait, read_traits
from training.traits.version import asked_as, version_of

SEED = 1
Tell = Callable[[str], None]


def find_trait(name: str) -> Trait:
    """Return one of the house's traits, or what `module:name` names. Raises UsageError."""
    if name in TRAITS:
        return TRAITS[name]
    if name.count(":") != 1:
        raise UsageError(
            f"there is no trait {name!r}", f"there are {', '.join(TRAITS)}, and your own as module:name"
        )
    try:
        found = import_named(name)()
    except SelvesError:
        raise
    except Exception as error:  # whatever a person's own function does
        raise UsageError(f"{name} makes no trait: {error!r}", "see training/traits/items.py") from error
    if not isinstance(found, Trait):
        raise UsageError(f"{name} is {found!r:.60}, no Trait", "see training/traits/items.py")
    return found._replace(name=name)


def questions(trait: Trait) -> list[Item]:
    """Return what a trait asks; always the same. Traits that read what was said ask the same of all.

    Raises UsageError where a trait of one's own fails, or asks nothing.
    """
    name = "sayings" if trait.ask is ask_sayings else trait.name
    try:
        items = list(trait.ask(random.Random(seed_from("traits", name, SEED))))
    except Exception as error:  # whatever a person's own trait does
        raise UsageError(
            f"the trait {trait.name} failed: {error!r}", "correct it, or leave it out"
        ) from error
    if not items or not all(isinstance(item, Pick | Say) for item in items):
        raise UsageError(f"the trait {trait.name} asks nothing", "a trait asks one Pick or Say, or more")
    return items


def judged(trait: Trait, items: Sequence[Item], answers: Sequence[Answer]) -> tuple[Figure, ...]:
    """Return a trait's figures. Raises UsageError where a judge of one's own fails."""
    try:
        found = tuple(trait.judge(items, answers))
    except SelvesError:
        raise
    except Exception as error:  # whatever a person's own judge does
        raise UsageError(
            f"the trait {trait.name} failed: {error!r}", "correct it, or leave it out"
        ) from error
    if not found or not all(isinstance(figure, Figure) for figure in found):
        raise UsageError(f"the trait {trait.name} judged nothing", "a judge returns one Figure or more")
    return found


def of_today(known: Mapping[str, Traits]) -> tuple[dict[str, Traits], dict[str, list[str]]]:
    """Part what is known of selves, by address: what was asked and judged as it is today, and the names of
    what was not. A trait of one's own that cannot be found any more is none of today's.
    """
    versions = {name: _version(name) for name in dict.fromkeys(name for of in known.values() for name in of)}
    current = {
        address: {name: found for name, found in traits.items() if found.version == versions[name]}
        for address, traits in known.items()
    }
    old = {
        address: [name for name in traits if name not in current[address]]
        for address, traits in known.items()
    }
    return (
        {address: traits for address, traits in current.items() if traits},
        {address: names for address, names in old.items() if names},
    )


def _version(name: str) -> str | None:
    try:
        trait = find_trait(name)
        return version_of(trait, questions(trait))
    except UsageError:
        return None


def know(age: Age, traits: Iterable[Trait], tell: Tell, *, again: bool = False) -> Traits:
    """Ask an age what is not known of it, keep each trait, and return all.

    What was answered to the same questions before is judged, not asked again. Raises AgeError, UsageError.
    """
    from training.post.models import quietly
    from training.traits.asking import Asked

    known = read_traits(age)
    asked: Asked | None = None
    heard = {} if again else {found.asked: found for found in known.values() if found.said or found.picked}
    for trait in traits:
        items = questions(trait)
        version, asking = version_of(trait, items), asked_as(items)
        before = known.get(trait.name)
        if before is not None and before.version == version and not again:
            tell(f"{age.card.address} {trait.name}: {before.figures[0]} (from earlier)")
            continue
        if asking in heard:
            answers = heard[asking].answers(items)
        else:
            with quietly():
                asked = asked or Asked(age)
                answers = asked.answer(items)
        found = Found(
            version=version,
            asked=asking,
            weights_sha256=age.card.weights_sha256,
            figures=judged(trait, items, answers),
            said=tuple(answer for answer in answers if isinstance(answer, str)),
            picked=tuple(answer for answer in answers if not isinstance(answer, str)),
        )
        keep_trait(age, trait.name, found)
        known[trait.name] = heard[asking] = found
        tell(f"{age.card.address} {trait.name}: {found.figures[0].name} {found.figures[0]}")
    return known
