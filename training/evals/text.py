"""The text that a self was raised on, for suites that ask about it; the recipe in an age's card names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from pydantic import ValidationError

from selves.errors import AgeError
from selves.lineage import list_ages
from selves.settings import House
from training import shards
from training import tokenizer as alphabet
from training.evals.items import Text
from training.recipe import Recipe
from training.shards import Corpus

HELDOUT_TOKENS = 32_768
"""About how much held-out text is read for bits per byte."""
SAMPLED_TOKENS = 1_500_000
"""How much of the training text is looked through for questions."""
PIECES = 32
"""It is taken from so many places all over it."""

Tell = Callable[[str], None]


def text_of(recipe: Mapping[str, Any], house: House, tell: Tell) -> Text:
    """Return the text that a recipe names, prepared again if it is gone.

    Raises AgeError if this version of the house cannot read the recipe, CorpusError if the text is gone.
    """
    try:
        read = Recipe.model_validate(recipe)
    except ValidationError as error:
        raise AgeError(f"the recipe of {recipe.get('lineage')} is of another version: {error}") from error
    return from_corpus(shards.prepare(read, house, tell))


def text_of_lineage(lineage: str, house: House, tell: Tell) -> Text:
    """Return the text that a lineage was raised on. Raises AgeError if no trained age of it is here."""
    for age in list_ages(house.checkpoints, lineage):
        if age.card.origin == "trained":
            return text_of(age.card.recipe, house, tell)
    raise AgeError(f"no trained age of {lineage} is in {house.checkpoints}", "name another with --text")


def from_corpus(held: Corpus, heldout_tokens: int = HELDOUT_TOKENS) -> Text:
    """Return a prepared corpus as documents: a sample of what is trained on, and the first held-out ones."""
    bos = alphabet.token(held.tokenizer, alphabet.BOS)
    size = SAMPLED_TOKENS // PIECES
    starts = (
        [0]
        if len(held.train) <= SAMPLED_TOKENS
        else np.linspace(0, len(held.train) - size, PIECES, dtype=int)
    )
    train: list[str] = []
    for start in starts:
        piece = np.asarray(
            held.train[start : start + (SAMPLED_TOKENS if len(starts) == 1 else size)], np.int64
        )
        whole = np.split(piece, np.flatnonzero(piece == bos))
        train += held.tokenizer.decode_batch([document.tolist() for document in whole[1:]])
    heldout = [tokens.tolist() for tokens, _ in shards.heldout_documents(held, heldout_tokens)]
    return Text(held.folder.name, tuple(train), tuple(held.tokenizer.decode_batch(heldout)))
