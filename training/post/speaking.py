"""A self writes before, while and after it is post-trained, and nothing of the training notices."""

from __future__ import annotations

from typing import Any

from selves.lineage import DIARY_FILE, Address, add_to_diary
from selves.speech import Writing
from training import diary
from training import tokenizer as alphabet
from training.kinds import Occasion
from training.listening import Stepper, listening, pen, prompt_ids
from training.post.models import Base
from training.post.recipe import PostRecipe

__all__ = ["Stepper", "listening", "prompt_ids", "write", "write_before"]


def write(
    recipe: PostRecipe, model: Any, base: Base, address: str, sha256: str, parent: str | None
) -> list[Writing]:
    """Return all that an age writes when it is kept, the last one more than the others."""
    last = Address.parse(address).step == recipe.age_steps[-1]
    return _write(recipe, model, base, (address, sha256, parent), "after" if last else "age")


def write_before(recipe: PostRecipe, model: Any, base: Base) -> list[Writing]:
    """Let the age that a run begins as write, once, in its lineage's diary; return what it wrote.

    Raises AgeError, DiskError.
    """
    card = base.age.card
    already = base.age.writings()
    if any(writing.occasion == "before" for writing in already):
        return []
    who = (card.address, card.weights_sha256, card.parent)
    said = _write(recipe, model, base, who, "before", already)
    if said:
        add_to_diary(base.age.folder.parent / DIARY_FILE, said)
    return said


def _write(
    recipe: PostRecipe,
    model: Any,
    base: Base,
    who: tuple[str, str, str | None],
    occasion: Occasion,
    already: list[Writing] | None = None,
) -> list[Writing]:
    address, sha256, parent = who
    with listening(model):
        own = pen(
            model,
            base.tokenizer,
            base.ends,
            base.form,
            address,
            sha256,
            alphabet.self_name(Address.parse(address).lineage),
        )
        return diary.write_with(own, recipe, [occasion], parent, already or ())
