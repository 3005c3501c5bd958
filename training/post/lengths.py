"""How long rows are in tokens, which of them can be learned from, and whether the template fits them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from selves.errors import ConfigError, CorpusError
from training.post.recipe import PostRecipe
from training.post.rows import LEARNED, Row
from training.post.teaching import read_by

CHECKED = 32
"""Rows whose template is looked at closely."""


class Lengths(NamedTuple):
    """Tokens of rows, summed and at most."""

    rows: int
    total: int
    longest: int
    cut: int
    """Rows that are longer than `max_tokens`."""
    dropped: int
    """Rows whose prompt alone fills it."""


def limit_of(recipe: PostRecipe, context: int) -> int:
    """Return how many tokens of a row are read."""
    return min(recipe.max_tokens or 1024, context)


def fitting(recipe: PostRecipe, rows: Sequence[Row], tokenizer: Any, limit: int) -> tuple[list[Row], Lengths]:
    """Return the rows of which something can be learned, and how long they are.

    Raises CorpusError if there are none, ConfigError if the chat template cannot render them.
    """
    room = limit - recipe.answer_tokens
    kept, lengths = [], []
    for number, row in enumerate(rows):
        prompt, whole = rendered(row, tokenizer, recipe, check=number < CHECKED)
        # what is cut off has no end that could be judged
        if len(prompt) < room and (recipe.method != "reward" or max(map(len, whole)) <= limit):
            kept.append(row)
            lengths.append(max(map(len, whole), default=len(prompt)))
    if not kept:
        raise CorpusError(
            f"no prompt is shorter than the {room} tokens that there is room for",
            "raise `max_tokens`, or shorten them",
        )
    cut = sum(length > limit for length in lengths)
    return kept, Lengths(
        len(kept), sum(min(n, limit) for n in lengths), max(lengths), cut, len(rows) - len(kept)
    )


def rendered(
    row: Row, tokenizer: Any, recipe: PostRecipe, *, check: bool = True
) -> tuple[list[int], list[list[int]]]:
    """Return a row's prompt as token ids, and prompt and answer for each answer. Raises ConfigError.

    What is learned is what stands after the prompt, so the template must render a prompt as it does when an
    answer follows, up to where the self speaks. Of sdft the prompt is what the base reads, the longer one.
    """
    asked = read_by(row, recipe)
    try:
        prompt = list(
            tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=True)["input_ids"]
        )
        whole = [
            list(tokenizer.apply_chat_template(row["prompt"] + row[column], return_dict=True)["input_ids"])
            for column in LEARNED.get(recipe.method, ())
        ]
    except Exception as error:  # a template is a program of somebody's
        raise ConfigError(
            f"the chat template cannot render {row['prompt']!r:.80}: {error}",
            "name another one as `template`",
        ) from error
    if check and any(ids[: len(prompt)] != prompt for ids in whole):
        raise ConfigError(
            "the chat template renders a prompt otherwise when its answer follows, so it cannot be told what "
            f"is to be learned: {tokenizer.decode(prompt)!r:.120} is not how "
            f"{tokenizer.decode(whole[0])!r:.160} begins",
            "name another one as `template`; it should end a prompt with all that stands before the answer",
        )
    return prompt, whole
