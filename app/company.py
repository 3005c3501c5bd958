"""Who can play: the cast of the house, and every other age as a guest."""

from __future__ import annotations

from collections.abc import Sequence

from bots.letter import name_of
from selves.cast import Cast, Persona
from selves.errors import UsageError
from selves.lineage import Age


def company(cast: Cast | None, ages: Sequence[Age]) -> Cast:
    """Return the cast with every age on disk in it, each called by lineage and age if nobody is it (pure).

    Raises UsageError when there is nobody at all.
    """
    known = cast.persona if cast else ()
    names = {persona.name.casefold() for persona in known}
    taken = {persona.address for persona in known}
    guests = []
    for age in ages:
        name = name_of(age.card.address)
        if age.card.address not in taken and name.casefold() not in names:
            guests.append(Persona(name=name, address=age.card.address))
            names.add(name.casefold())
    if not known and not guests:
        raise UsageError(
            "nobody is there to talk", "train an age first: `selves train run recipes/demo.toml`"
        )
    if cast is None:
        return Cast(persona=tuple(guests))
    return cast.model_copy(update={"persona": (*known, *guests)})


def first_cast(cast: Cast | None, everybody: Cast) -> list[str]:
    """Return who plays if nobody was chosen: the cast file's, or the newest two ages (pure)."""
    if cast is not None and len(cast.persona) > 1:
        return [persona.name for persona in cast.persona[:4]]
    return [persona.name for persona in everybody.persona[-2:]]
