"""What was found of each self, by trait: home/checkpoints/LINEAGE/traits.json, and what it said beside it
(see training/beside.py).
"""

from __future__ import annotations

from pathlib import Path

from selves.lineage import Age
from selves.speech import Frozen
from training import beside
from training.post.figures import Figure

TRAITS_FILE = "traits.json"
AGAIN = "ask"


class Found(Frozen):
    """One trait of one age."""

    version: str
    """Of the trait, with a hash of what it asked."""
    weights_sha256: str
    figures: tuple[Figure, ...]
    said: tuple[str, ...] = ()
    """What it said, where the trait lets it say something; in the order of the questions."""


Traits = dict[str, Found]


def read_traits(age: Age) -> Traits:
    """Return what is known of the weights that an age has now. Raises AgeError if the file is damaged."""
    known = beside.read(_path(age), Found, AGAIN).get(age.card.address, {})
    return {name: found for name, found in known.items() if found.weights_sha256 == age.card.weights_sha256}


def keep_trait(age: Age, name: str, found: Found) -> None:
    """Add one trait, in place of an earlier one. Raises AgeError, DiskError."""
    beside.keep(_path(age), age.card.address, name, found, AGAIN)


def _path(age: Age) -> Path:
    return age.folder.parent / TRAITS_FILE
