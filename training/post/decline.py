"""By what it is told how old an ageing self is: how likely it still finds its own words, or right answers.

Its own words are the yardstick that always falls: what a model samples is on average likelier to itself than
to any other (Gibbs' inequality), so whatever is done to its weights takes from that. Right answers say what
it knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from selves.errors import ConfigError
from selves.speech import Prompt, Sampling, seed_from
from training.evals.items import Choice, Item, Text
from training.evals.run import find_suite, make_items
from training.generate import Speaker, say
from training.post import figures
from training.post.models import Base
from training.post.recipe import PostRecipe
from training.post.speaking import Stepper, listening, prompt_ids

SUITES = ("agreement", "arithmetic")
WORDS, WORD_TOKENS = 24, 32
"""How many things it says, and how long each is, before it ages."""

Yardstick = Callable[[Any], list[float]]
"""From a model to log-probabilities in nats, one for each thing that it is asked."""


def yardstick(recipe: PostRecipe, model: Any, base: Base) -> tuple[str, Yardstick]:
    """Return what is measured, in words, and how. Raises ConfigError if there is nothing to ask."""
    if recipe.ageing.by == "answers":
        return "log p of right answers", _answers(recipe, base)
    return "log p of its own words, per token", _words(recipe, model, base)


def _answers(recipe: PostRecipe, base: Base) -> Yardstick:
    found: list[Item] = []
    for name in recipe.probes.suites or SUITES:
        found += make_items(find_suite(name), recipe.probes.items, base.form, Text())
    choices = [item for item in found if isinstance(item, Choice)]
    if not choices:
        raise ConfigError(
            "right answers are those of questions with options, and the suites in [probes] have none",
            f'name others, such as {", ".join(SUITES)}, or say by = "words" in [ageing]',
        )

    def ask(model: Any) -> list[float]:
        with listening(model):
            return figures.likelihoods(figures.Loaded(model, base.tokenizer, base.ends), choices)

    return ask


def _words(recipe: PostRecipe, model: Any, base: Base) -> Yardstick:
    speaker = Speaker(Stepper(model), base.tokenizer, "", "")  # type: ignore[arg-type]
    prompt = Prompt(form="transcript")
    start = prompt_ids(base.tokenizer, prompt)
    if not start:
        raise ConfigError("its tokenizer has no token to begin with", 'say by = "answers" in [ageing]')
    rows = []
    with listening(model):
        for number in range(WORDS):
            seed = seed_from("own words", recipe.seed, number)
            sampling = Sampling(max_tokens=WORD_TOKENS, temperature=1.0, top_p=1.0, seed=seed)
            rows.append([*start, *say(speaker, prompt, start, sampling, ()).token_ids])

    def ask(model: Any) -> list[float]:
        with listening(model):
            found = figures.Loaded(model, base.tokenizer, base.ends).logprobs(rows)
        return [float(logprobs.mean()) for logprobs in found]

    return ask
