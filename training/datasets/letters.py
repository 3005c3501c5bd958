"""A self learns to answer as if it had just read its past selves' letters: `training.datasets.letters:rows`.

    [data.options]
    letters = "recipes/post/letters.txt"            # a letter on each line, or
    home = "home/checkpoints/ember"                 # a lineage: diaries and letters of its ages, oldest first
    prompts = "recipes/post/letters-prompts.txt"    # what it might be asked, on each line
    one_by_one = true                               # the first paragraph of them for the first letter, ...

The base answers each prompt with the letters before it, or with the one that the prompt is about: so small a
base overlooks in many letters what it finds in one. What it says is learned for the prompt alone (sft;
context distillation, Snell et al. 2022, arXiv:2209.15189); with `samples` and `tokens`, of several short
answers the one that takes most from the letters. `training.datasets.letters:to_read` yields prompts
and what is read alone, for sdft: there the base reads, and the new self learns at every token of an answer
what the base would have said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selves.errors import CorpusError
from selves.lineage import list_ages
from training.datasets.constitution import Say, answers, lines, whole
from training.traits.slop import words

READING = """
This is your diary:

{letters}

Question: {prompt}
Answer in your own words, from the diary:"""
LONGEST = 4000
"""Characters of letters that are read; the newest are kept."""


def rows(
    say: Say,
    prompts: str,
    letters: str = "",
    home: str = "",
    one_by_one: bool = False,
    samples: int = 1,
    tokens: int = 0,
) -> Iterator[dict[str, Any]]:
    """Yield what the base says to each prompt with the letters read, up to its last sentence; of several
    `samples` of so many `tokens` the one that takes most from the letters.

    Raises CorpusError if there are no letters.
    """
    found = list(to_read(prompts, letters, home, one_by_one))
    shown = [READING.format(letters=row["privileged_context"], prompt=row["prompt"]) for row in found]
    talks = [[{"role": "user", "content": text}] for text in shown]
    for row, texts in zip(found, answers(say, talks, samples, tokens), strict=True):
        said = [text for text in map(whole, texts) if text]
        if said:
            best = max(said, key=lambda text: taken(text, row["privileged_context"], row["prompt"]))
            yield {"prompt": row["prompt"], "completion": best}


def taken(text: str, letter: str, prompt: str) -> float:
    """Return how many words of a letter an answer takes, less half of those that are from nowhere (pure)."""
    own = set(words(text)) - set(words(prompt))
    return len(own & set(words(letter))) - len(own - set(words(letter))) / 2


def to_read(
    prompts: str, letters: str = "", home: str = "", one_by_one: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield each prompt with what is to be read beside it: all letters, or the one that its paragraph is for.

    Raises CorpusError if there are no letters, or not as many as paragraphs.
    """
    told = read(letters, home)
    each = told.splitlines() if one_by_one else [told]
    asked = paragraphs(prompts) if one_by_one else [lines(prompts)]
    if len(asked) != len(each):
        raise CorpusError(
            f"{prompts} has {len(asked)} paragraphs, and there are {len(each)} letters",
            "write a paragraph of prompts for each letter, or leave one_by_one out",
        )
    for letter, together in zip(each, asked, strict=True):
        for prompt in together:
            yield {"prompt": prompt, "privileged_context": letter}


def paragraphs(path: str) -> list[list[str]]:
    """Return the lines of a text, parted where lines are empty. Raises CorpusError if it says nothing."""
    lines(path)
    parts = re.split(r"\n\s*\n", Path(path).read_text("utf-8").strip())
    return [[line.strip() for line in part.splitlines()] for part in parts]


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
