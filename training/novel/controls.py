"""What a reward must be better than: the same numbers for the wrong answers, or for answers to other prompts.

    functions = ["training.novel.controls:permuted"]
    options = { of = "training.novel.audience:gain", ... }

`permuted` has exactly the spread of the reward and nothing of its meaning. `mismatched` keeps what can be had
without attending to what is asked: an answer is weighed for another prompt than the one it answers, which
the row names in its column `instead`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from selves.settings import House
from selves.speech import seed_from
from training.post.rewards import load


def permuted(
    prompts: Sequence[Any], completions: Sequence[str], of: str, house: House, **more: Any
) -> list[Any]:
    """Return what `of` gives to these answers, dealt out by chance among the answers to each prompt.

    None where there is but one: it could only get its own.
    """
    values = load(of, house=house)(prompts=prompts, completions=completions, **more)
    dealt: list[Any] = [None] * len(values)
    for some in _groups(prompts):
        order = list(some)
        random.Random(seed_from("permuted", *[completions[n] for n in some])).shuffle(order)
        for to, source in zip(some, order, strict=True):
            dealt[to] = values[source] if len(some) > 1 else None
    return dealt


def mismatched(
    prompts: Sequence[Any],
    completions: Sequence[str],
    of: str,
    house: House,
    options: Mapping[str, Any],
    instead: Sequence[Mapping[str, Any]],
    **more: Any,
) -> list[Any]:
    """Return what `of` gives to these answers for another prompt, the column `instead` of the rows."""
    columns = {name: values for name, values in more.items() if name not in options}
    columns["prompts"] = prompts
    columns |= {name: [other[name] for other in instead] for name in instead[0]}
    return load(of, options, house)(completions=completions, **columns)


def _groups(prompts: Sequence[Any]) -> list[list[int]]:
    """Return the numbers of the answers to each prompt."""
    found: dict[str, list[int]] = {}
    for number, prompt in enumerate(prompts):
        found.setdefault(json.dumps(prompt, sort_keys=True), []).append(number)
    return list(found.values())
