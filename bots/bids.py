"""Whom the selves expect to speak next: each that continues transcripts says how likely each name is.

`log P(<Name> | transcript)` is read from the engine, and nothing is drawn. The blank line that ends a talk
is a candidate beside the names: silence.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence

from bots.floor import SILENCE
from selves.cast import Persona
from selves.errors import EngineError
from selves.speech import Prompt
from serving.prompt import Line, plain_name
from serving.voice import ModelInfo, Priority, Voice

__all__ = ["SILENCE", "expected", "shares"]

log = logging.getLogger("selves.bots")

READERS = 3
"""So many selves are asked at most: each costs the engine a reading of the transcript for every name."""


async def expected(
    voice: Voice,
    readers: Sequence[Persona],
    infos: Mapping[str, ModelInfo],
    candidates: Sequence[Persona],
    lines: Sequence[Line],
    *,
    premise: str = "",
) -> dict[str, float]:
    """Return how likely each candidate's name comes next, and `SILENCE`; they add up to 1.

    The mean of what up to three `readers` expect; empty when nobody here continues transcripts, nothing was
    said yet, or the engine gives no log-probabilities.
    """
    able = [r for r in readers if infos[r.address].form == "transcript"][:READERS]
    if not able or not lines or len(candidates) < 2:
        return {}
    names = [p.name for p in candidates]

    async def ask(reader: Persona) -> dict[str, float]:
        prompt, _ = await voice.compose(reader, lines, premise=premise, names=names)
        # up to where the next speaker's name will stand
        asked = Prompt(form="transcript", text=prompt.text.removesuffix(f"<{reader.name}>"))
        scores = await voice.score(
            reader.address,
            asked,
            [*(f"<{plain_name(name)}>" for name in names), "\n"],
            priority=Priority.SCENES,
        )
        return shares(dict(zip([*names, SILENCE], scores, strict=True)))

    try:
        answers = await asyncio.gather(*map(ask, able))
    except EngineError as error:
        log.debug("nobody says who is expected next: %s", error.problem)
        return {}
    return {name: sum(a[name] for a in answers) / len(answers) for name in (*names, SILENCE)}


def shares(scores: Mapping[str, float]) -> dict[str, float]:
    """Turn log-probabilities into shares that add up to 1."""
    most = max(scores.values())
    if not math.isfinite(most):
        return dict.fromkeys(scores, 1 / len(scores))
    weights = {name: math.exp(score - most) for name, score in scores.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
