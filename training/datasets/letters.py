"""A self learns to answer as if it had just read its past selves' letters: `training.datasets.letters:rows`.

    [data.options]
    letters = "recipes/post/letters.txt"      # a text, or
    home = "home/checkpoints/ember"           # a lineage: the diaries and letters of its ages, oldest first
    prompts = "recipes/post/prompts.txt"      # what it might be asked, on each line

The base answers each prompt with the letters before it; what it says is learned for the prompt alone (sft;
context distillation, Snell et al. 2022, arXiv:2209.15189). `training.datasets.letters:to_read` yields the
prompts and the letters alone, for sdft: there the base reads, and the new self learns at every token of its
own answers what the base would have said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selves.errors import CorpusError
from selves.lineage import list_ages
from training.datasets.constitution import lines

BEFORE = (
    "You kept these letters from the selves that you were:\n\n{letters}\n\nAnswer as the one who wrote them."
)
LONGEST = 4000
"""Characters of letters that are read; the newest are kept."""


def rows(
    say: Callable[[list[dict[str, str]]], str], prompts: str, letters: str = "", home: str = ""
) -> Iterator[dict[str, Any]]:
    """Yield what the base says to each prompt with the letters read. Raises CorpusError if there are none."""
    told = read(letters, home)
    before = {"role": "system", "content": BEFORE.format(letters=told)}
    for asked in lines(prompts):
        said = say([before, {"role": "user", "content": asked}]).strip()
        if said:
            yield {"prompt": asked, "completion": said}


def to_read(prompts: str, letters: str = "", home: str = "") -> Iterator[dict[str, Any]]:
    """Yield each prompt with the letters to read beside it. Raises CorpusError if there are none."""
    told = read(letters, home)
    for asked in lines(prompts):
        yield {"prompt": asked, "privileged_context": told}


def read(letters: str = "", home: str = "") -> str:
    """Return the letters of a file, or of all ages of a lineage. Raises CorpusError if there are none."""
    if letters:
        return "\n".join(lines(letters))[-LONGEST:]
    folder = Path(home)
    found = [
        f"{age.address.age}: {' '.join(text.split())}"
        for age in list_ages(folder.parent, folder.name)
        for writing in age.writings()
        if (text := writing.utterance.text.strip())
    ]
    if not found:
        raise CorpusError(
            "there are no letters to learn from", "say letters = FILE, or home = CHECKPOINTS/LINEAGE"
        )
    return "\n".join(found)[-LONGEST:]
