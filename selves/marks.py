"""A self that was marked when it was made stays marked, also where a cast forgets to say so."""

from __future__ import annotations

from pathlib import Path

from selves.cast import Cast
from selves.lineage import Address, list_ages


def marked(cast: Cast, checkpoints: Path) -> Cast:
    """Return the cast in which each self whose age is marked is age-restricted, whatever the cast file says.

    A self whose age is not on this machine is as its cast says. Raises AgeError where a card is damaged.
    """
    lineages = {Address.parse(persona.address).lineage for persona in cast.persona}
    ages = [age.card for lineage in sorted(lineages) for age in list_ages(checkpoints, lineage, away=True)]
    restricted = {card.address for card in ages if card.age_restricted}
    found = tuple(
        persona.model_copy(update={"age_restricted": True}) if persona.address in restricted else persona
        for persona in cast.persona
    )
    return cast if found == cast.persona else cast.model_copy(update={"persona": found})
