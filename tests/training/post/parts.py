"""What the tests of post-training share: names, and how the figures in an age are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from selves.lineage import Age, find_age
from selves.settings import House
from training.figure import Figure
from training.post.keeping import FIGURES_FILE
from training.post.recipe import PostRecipe
from training.post.run import train

BASE = "tiny@chat-000008"
MakePost = Callable[..., PostRecipe]


def vowels(completions: list[str], **_: Any) -> list[float]:
    """1 for answers that begin with a vowel."""
    return [float(text[:1] in tuple("aeiou")) for text in completions]


def figures(age: Age) -> dict[str, tuple[Figure, Figure]]:
    """Return name -> (before, after)."""
    found = age.read_json(FIGURES_FILE)
    before, after = ([Figure.model_validate(f) for f in found[when]] for when in ("before", "after"))
    return {b.name: (b, a) for b, a in zip(before, after, strict=True)}


def trained(recipe: PostRecipe, house: House) -> Age:
    """Return the last age that a recipe makes."""
    return find_age(house.checkpoints, train(recipe, house, threads=1)[-1].address)
