"""What is asked before and after besides rows that were held out, and may not be learned: suites and traits.

Every self is asked the house's traits some day (`selves train traits`), so no run may learn their questions.
"""

from __future__ import annotations

from typing import Any

from selves.speech import Form
from training.figure import Figure
from training.listening import listening
from training.post import figures
from training.post.recipe import PostRecipe


def questions(recipe: PostRecipe, form: Form) -> list[str]:
    """Return what suites of the recipe ask, and traits: the house's and the recipe's own.

    Of traits those that have right answers; what a self is merely let talk about is no secret.
    """
    from training.traits import run
    from training.traits.items import Pick
    from training.traits.probes import TRAITS

    traits = {**TRAITS, **{name: run.find_trait(name) for name in recipe.probes.traits}}
    asked = (item for trait in traits.values() for item in run.questions(trait) if isinstance(item, Pick))
    return [*figures.questions(recipe, form), *(item.messages[-1].content for item in asked)]


def measure(recipe: PostRecipe, model: Any, tokenizer: Any, ends: list[int]) -> list[Figure]:
    """Return what the recipe's traits find of a model. The training that it is in notices nothing."""
    if not recipe.probes.traits:
        return []
    from training.traits import run
    from training.traits.asking import Asked

    found: list[Figure] = []
    with listening(model), figures.greedy(model):
        asked = Asked(figures.Loaded(model, tokenizer, ends))
        for name in recipe.probes.traits:
            trait = run.find_trait(name)
            items = run.questions(trait)
            for figure in run.judged(trait, items, asked.answer(items)):
                found.append(figure.model_copy(update={"name": f"{trait.name}: {figure.name}"}))
    return found
