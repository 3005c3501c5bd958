"""What was found of each self, by trait: home/checkpoints/LINEAGE/traits.json, with all that it answered
(see training/beside.py), so that whoever judges otherwise later need not ask again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selves.lineage import Age
from selves.speech import Frozen
from training import beside
from training.figure import Figure
from training.traits.items import Answer, Item, Pick, Picked

TRAITS_FILE = "traits.json"
AGAIN = "ask"


class Found(Frozen):
    """One trait of one age."""

    version: str
    """Of the trait, what it asked and how, and who judged (training/traits/version.py)."""
    asked: str = ""
    """Of that, what was asked and how."""
    weights_sha256: str
    figures: tuple[Figure, ...]
    said: tuple[str, ...] = ()
    """What it said, where the trait lets it say something; in the order of the questions."""
    picked: tuple[Picked, ...] = ()
    """How likely it found what there was to choose from; in the order of the questions."""

    def answers(self, items: Sequence[Item]) -> list[Answer]:
        """Return what was answered to these questions, which must be those that were asked."""
        said, picked = iter(self.said), iter(self.picked)
        return [next(picked) if isinstance(item, Pick) else next(said) for item in items]


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
