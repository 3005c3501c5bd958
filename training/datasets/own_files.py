"""Your own texts as things to answer with: `function = "training.datasets.own_files:rows"`.

    [data.options]
    folder = "my-texts"          # .txt and .md, and all below
    ask = "Tell me something."

Each passage becomes an answer to the same request, so a self takes on how they are written (sft).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selves.errors import CorpusError

SHORTEST = 40
"""Characters: headings and the like are no passages."""


def rows(folder: str, ask: str = "Tell me something.") -> Iterator[dict[str, Any]]:
    """Yield each paragraph as an answer. Raises CorpusError if a file cannot be read, or there is none."""
    files = sorted(path for path in Path(folder).rglob("*") if path.suffix in (".txt", ".md"))
    if not files:
        raise CorpusError(f"{folder} has no .txt and no .md in it", "name a folder with texts of yours")
    for path in files:
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CorpusError(f"{path} cannot be read: {error}", "convert it to UTF-8") from error
        for passage in text.split("\n\n"):
            if len(words := " ".join(passage.split())) >= SHORTEST:
                # what is asked is always the same, so they are held out one by one
                yield {"prompt": ask, "completion": words, "group": words}
