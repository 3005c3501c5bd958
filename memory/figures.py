"""Two figures that published texts of models should carry, after janus (pure).

Contribution: which share of the characters a model wrote, and which a person. Selectivity: how many samples
were drawn for one that is shown, in bits; one of 37 is 5.2 bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from difflib import SequenceMatcher


@dataclass(frozen=True, slots=True)
class Figures:
    """The two figures, and what they were counted from."""

    model_characters: int
    human_characters: int
    contribution: float | None
    """The model's share of the characters, 0 to 1; None when there are none."""
    generated: int
    published: int
    selectivity_bits: float | None
    """log2(generated / published); None when nothing was generated or nothing published."""


def make_figures(*, model: int, human: int, generated: int, published: int) -> Figures:
    """Count characters of the model and of people, samples drawn, and samples shown."""
    drawn = max(generated, published)
    return Figures(
        model_characters=model,
        human_characters=human,
        contribution=model / (model + human) if model + human else None,
        generated=generated,
        published=published,
        selectivity_bits=math.log2(drawn / published) if generated and published else None,
    )


def written_by_model(text: str, sample: str | None) -> int:
    """Return how many characters of a text are the sample's that it was made of; the rest a person added."""
    if sample is None:
        return 0
    if text in sample:
        return len(text)
    matcher = SequenceMatcher(None, sample, text, autojunk=False)
    return sum(block.size for block in matcher.get_matching_blocks())
