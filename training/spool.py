"""All documents of a corpus in one temporary file, so that a text of any size is prepared in little memory.

Sources are gone through once and written down; whether a document is held out follows from its hash. Then the
file is read as often as needed. In memory are only a few numbers for every held-out document.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

from selves.errors import CorpusError
from training.documents import Document, Turn


class _Place(NamedTuple):
    """Where a document stands, by its hash."""

    digest: str
    number: int
    offset: int


class Spool:
    """Documents in the order in which they came; `split` is called once, when all are there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.characters = 0
        """Of the documents to learn from; a name counts as 8."""
        self._count = 0
        self._offset = 0
        self._heldout: list[_Place] = []
        self._first: _Place | None = None
        """Of those to learn from, the first by hash: held out if none is by itself."""

    def add(self, document: Document, file: IO[bytes]) -> None:
        """Write a document down, at the end of `file`."""
        place = _Place(document.digest, self._count, self._offset)
        if document.held_out:
            self._heldout.append(place)
        else:
            self.characters += size(document)
            self._first = min(self._first, place) if self._first else place
        self._count += 1
        self._offset += file.write(json.dumps(document.turns or document.text).encode() + b"\n")

    def split(self) -> None:
        """Make sure that there is something to learn from and something held out. Raises CorpusError."""
        if self._count < 2:
            raise CorpusError(
                "the corpus is a single document, so there is nothing to hold out and measure by",
                "give it more text: at least two documents",
            )
        if not self._heldout and self._first:
            self._heldout.append(self._first)
        elif len(self._heldout) == self._count:
            self._heldout.pop()
        # Ordered by hash, so that the first part of it is a fair sample of all sources.
        self._heldout.sort()

    @property
    def train_documents(self) -> int:
        return self._count - len(self._heldout)

    def train(self) -> Iterator[Document]:
        """Yield the documents to learn from, in order."""
        held = {place.number for place in self._heldout}
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                if number not in held:
                    yield _document(line)

    def heldout(self) -> Iterator[Document]:
        """Yield the documents held out, by their hash."""
        with self.path.open("rb") as file:
            for place in self._heldout:
                file.seek(place.offset)
                yield _document(file.readline())

    def sample(self, characters: int) -> Iterator[Document]:
        """Yield every so many-th document to learn from, about so many characters in all."""
        stride = max(1, -(-self.characters // characters))
        return islice(self.train(), 0, None, stride)


def size(document: Document) -> int:
    """Return about how many characters a document has."""
    return len(document.text) + sum(len(turn.text) + 8 for turn in document.turns)


def turns_of(line: bytes | str) -> Document:
    """Return the conversation in a line of JSON."""
    return Document(turns=tuple(Turn(*turn) for turn in json.loads(line)))


def _document(line: bytes) -> Document:
    return turns_of(line) if line.startswith(b"[") else Document(json.loads(line))
