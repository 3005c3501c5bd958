"""Every self through every trait: what is known is not asked again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence

from selves.errors import SelvesError, UsageError
from selves.files import sha256_text
from selves.lineage import Age
from selves.speech import seed_from
from training.documents import import_named
from training.post.figures import Figure
from training.traits.items import Answer, Item, Trait
from training.traits.probes import TRAITS, ask_sayings
from training.traits.results import Found, Traits, keep_trait, read_traits

SEED = 1
SAYINGS = "prose"
"""The trait with which what a self said is kept; others read the same."""
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
    except TypeError as error:
        raise UsageError(f"{name} makes no trait: {error}", "see training/traits/items.py") from error
    if not isinstance(found, Trait):
        raise UsageError(f"{name} is {found!r:.60}, no Trait", "see training/traits/items.py")
    return found._replace(name=name)


def questions(trait: Trait) -> list[Item]:
    """Return what a trait asks; always the same. Traits that read what was said ask the same of all."""
    name = "sayings" if trait.ask is ask_sayings else trait.name
    return list(trait.ask(random.Random(seed_from("traits", name, SEED))))


def version_of(trait: Trait, items: Sequence[Item]) -> str:
    """Return what changes when a trait's judge or what it asks does."""
    return f"{trait.version}-{sha256_text(repr(items))[:12]}"


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


def know(age: Age, traits: Iterable[Trait], tell: Tell, *, again: bool = False) -> Traits:
    """Ask an age what is not known of it, keep each trait, and return all. Raises AgeError, UsageError."""
    from training.post.models import quietly
    from training.traits.asking import Asked

    known = read_traits(age)
    asked: Asked | None = None
    heard: dict[object, list[Answer]] = {}
    if (kept := known.get(SAYINGS)) and not again:
        sayings = TRAITS[SAYINGS]
        if kept.version == version_of(sayings, questions(sayings)):
            heard[sayings.ask] = list(kept.said)
    for trait in traits:
        items = questions(trait)
        version = version_of(trait, items)
        before = known.get(trait.name)
        if before is not None and before.version == version and not again:
            tell(f"{age.card.address} {trait.name}: {before.figures[0]} (from earlier)")
            continue
        if trait.ask not in heard:
            with quietly():
                asked = asked or Asked(age)
                heard[trait.ask] = asked.answer(items)
        answers = heard[trait.ask]
        said = tuple(answer for answer in answers if isinstance(answer, str))
        found = Found(
            version=version,
            weights_sha256=age.card.weights_sha256,
            figures=judged(trait, items, answers),
            said=said if trait.name == SAYINGS else (),
        )
        keep_trait(age, trait.name, found)
        known[trait.name] = found
        tell(f"{age.card.address} {trait.name}: {found.figures[0].name} {found.figures[0]}")
    return known
