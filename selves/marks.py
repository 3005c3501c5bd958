"""A self that was marked when it was made stays marked, also where a cast forgets to say so."""

from __future__ import annotations

from pathlib import Path

from selves.cast import Cast, Persona
from selves.lineage import Address, list_ages


def marked(cast: Cast, checkpoints: Path) -> Cast:
    """Return the cast in which each self whose age is marked is age-restricted, whatever the cast file says.

    A self whose age is not on this machine is as its cast says. Raises AgeError where a card is damaged.
    """
    found = tuple(_marked(persona, checkpoints) for persona in cast.persona)
    return cast if found == cast.persona else cast.model_copy(update={"persona": found})


def _marked(persona: Persona, checkpoints: Path) -> Persona:
    lineage = Address.parse(persona.address).lineage
    cards = [age.card for age in list_ages(checkpoints, lineage, away=True)]
    if any(card.address == persona.address and card.age_restricted for card in cards):
        return persona.model_copy(update={"age_restricted": True})
    return persona
