"""What an answer is worth: plain functions, batch in, floats out.

    def short(completions, **_):
        return [1 / (1 + len(text.split())) for text in completions]

is named `my_module:short` in [reward]. A reward is given by name

    prompts        for each answer the messages it answers
    completions    the answers, as text
    house          the folders of this house, where ages are
    each other column of the rows, such as `answer`
    and what [reward.options] says, one by one and together as `options`

and returns a number for each answer, or None where it does not apply. One that raises, returns another number
of things, or what is no number, ends the run with its name. `selves train reward try` shows what one says.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from selves.errors import SelvesError, TrainingError
from selves.settings import House
from training.documents import import_named

Reward = Callable[..., Sequence[float | None]]
FIX = "a reward returns one finite number for each completion, or None where it does not apply"


def load(
    name: str, options: Mapping[str, Any] | None = None, house: House | None = None
) -> Callable[..., list[float | None]]:
    """Return a reward that checks what it returns, as TRL calls it. Raises UsageError if there is none."""
    told = {"house": house, "options": options or {}, **(options or {})}
    function: Reward = import_named(name)
    takes = inspect.signature(function).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values())

    def reward(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        given = {"prompts": prompts, "completions": [text_of(one) for one in completions], **columns, **told}
        if not takes_all:
            given = {key: value for key, value in given.items() if key in takes}
        try:
            values = list(function(**given))
        except SelvesError:
            raise
        except Exception as error:  # whatever a person's own reward does
            raise TrainingError(f"the reward {name} failed: {error!r}", "correct it; " + FIX) from error
        if len(values) != len(completions):
            raise TrainingError(
                f"the reward {name} gave {len(values)} numbers for {len(completions)} answers", FIX
            )
        return [_number(value, name) for value in values]

    reward.__name__ = name.rpartition(":")[2]
    return reward


def text_of(completion: Any) -> str:
    """Return an answer as text, however TRL hands it over."""
    return completion if isinstance(completion, str) else "".join(str(turn["content"]) for turn in completion)


def _number(value: Any, name: str) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise TrainingError(f"the reward {name} gave {value!r}", FIX)
    return number


def exact(completions: Sequence[str], answer: Sequence[str], **_: Any) -> list[float]:
    """1 where the answer, without spaces around it, is the column `answer`."""
    return [float(said.strip() == str(right)) for said, right in zip(completions, answer, strict=True)]


def last_number(completions: Sequence[str], answer: Sequence[str], **_: Any) -> list[float]:
    """1 where the last number that is said is as much as the column `answer`: 7 and 7.0 are one number."""
    found = [[None, *re.findall(r"-?\d+(?:\.\d+)?", said)][-1] for said in completions]
    return [
        float(number is not None and float(number) == float(right))
        for number, right in zip(found, answer, strict=True)
    ]


def asks(completions: Sequence[str], **_: Any) -> list[float]:
    """1 where the answer ends with a question."""
    return [float(said.rstrip().endswith("?")) for said in completions]


def not_in_circles(completions: Sequence[str], **_: Any) -> list[float]:
    """The share of an answer's pieces of four characters that are not there twice; 0 for an empty one."""
    pieces = [[text[at : at + 4] for at in range(max(1, len(text) - 3))] for text in completions]
    return [
        len(set(some)) / len(some) if text else 0.0 for some, text in zip(pieces, completions, strict=True)
    ]
