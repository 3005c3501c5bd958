"""A self corrects itself by principles of yours: `function = "training.datasets.constitution:rows"`.

    [data.options]
    constitution = "constitution.txt"    # a principle on each line
    prompts = "prompts.txt"              # something that it might be asked on each line
    rounds = 2                           # how often it thinks again, of another principle each time
    checked = true                       # keep only answers that break fewer of training.traits.principles

It answers each prompt, says what in the answer breaks a principle, and answers again (Bai et al. 2022,
arXiv:2212.08073). The last answer, or with `checked` the best, is what sft learns, and what dpo prefers to
the first. A self that is too small for this revises nothing, or makes it worse: look at the rows with
--dry-run before you train on them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selves.errors import CorpusError
from training.traits.principles import broken

CRITIQUE = "Does your answer keep to this: {principle} Say in one sentence what is wrong with it."
REVISION = "Answer again, so that it does. Write the answer alone."


def rows(
    say: Callable[[list[dict[str, str]]], str],
    constitution: str,
    prompts: str,
    seed: int = 1,
    rounds: int = 1,
    checked: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield a row for each prompt whose answer came out otherwise. Raises CorpusError for an empty file."""
    principles, source = lines(constitution), random.Random(seed)
    for asked in lines(prompts):
        talk = [{"role": "user", "content": asked}]
        said = first = best = say(talk)
        for _ in range(rounds):
            principle = source.choice(principles)
            talk = [*talk, _said(said), {"role": "user", "content": CRITIQUE.format(principle=principle)}]
            talk = [*talk, _said(say(talk)), {"role": "user", "content": REVISION}]
            said = say(talk)
            if not checked or broken(said) < broken(best):
                best = said
        if first.strip() and best.strip() and first != best:
            yield {"prompt": asked, "completion": best, "chosen": best, "rejected": first}


def lines(path: str) -> list[str]:
    """Return the lines of a text that say something."""
    try:
        found = [line.strip() for line in Path(path).read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} cannot be read: {error}", "name a text file in UTF-8") from error
    if not found:
        raise CorpusError(f"{path} is empty", "write a line in it")
    return found


def _said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text or "…"}
