"""What is learned from: documents, and how a base age reads them.

A document is a text, or a conversation: (speaker, text) turns. A conversation becomes lines of
`<Name> text`, so that even a base age knows whose turn it is:

    <Ash> Hi! How are you today?
    <Ember> I'm doing really good haha

Where documents come from is in `corpus`; this module only knows what they are.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from selves.errors import CorpusError, UsageError

NAMES = (
    *("Ada", "Alex", "Amir", "Anna", "Ash", "Bea", "Ben", "Cleo", "Dana", "Eli", "Ember", "Elder", "Emma"),
    *("Finn", "Grace", "Guest", "Hugo", "Ida", "Iris", "Jack", "Jo", "Kai", "Kim", "Lea", "Leo", "Lily"),
    *("Luna", "Max", "Maya", "Mia", "Nico", "Noa", "Nora", "Omar", "Otto", "Pia", "Ray", "River", "Robin"),
    *("Rosa", "Ruby", "Sam", "Sara", "Sky", "Spark", "Sol", "Tara", "Theo", "Tinder", "Uma", "Vera", "Wren"),
    *("Yara", "Zoe"),
)
"""Who speaks in conversations; those of the example casts are among them."""

HELD_OUT = 50
"""About one document in so many is never trained on."""
PASSAGE_CHARACTERS = 6000
"""Longer texts are cut into passages of at most so many characters, at paragraphs where it can be."""
SYSTEM = "system"
"""The speaker of what is told before a conversation."""


class Turn(NamedTuple):
    speaker: str
    text: str


class Document(NamedTuple):
    """A text, or a conversation if there are turns."""

    text: str = ""
    turns: tuple[Turn, ...] = ()

    @property
    def digest(self) -> str:
        """md5 of what is said, which decides where the document goes and what its speakers are called."""
        said = json.dumps(self.turns) if self.turns else self.text
        return hashlib.md5(said.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()

    @property
    def held_out(self) -> bool:
        return int(self.digest[:8], 16) % HELD_OUT == 0


def render(document: Document) -> str:
    """Return a document as the text that a base age reads; what the system says first has no name."""
    text = document.text
    if document.turns:
        names = speaker_names(document)
        text = "".join(f"{names[turn.speaker]}{one_line(turn.text)}\n" for turn in document.turns)
    return text.encode("utf-8", "replace").decode()  # JSON can hold halves of characters


def speaker_names(document: Document) -> dict[str, str]:
    """Return how each speaker's lines begin: with a first name, the same one for the same conversation."""
    speakers = list(dict.fromkeys(t.speaker for t in document.turns if t.speaker != SYSTEM))
    source = random.Random(document.digest)
    names = source.sample(NAMES, min(len(speakers), len(NAMES)))
    names += [f"{source.choice(NAMES)}{n}" for n in range(len(speakers) - len(names))]
    return {SYSTEM: ""} | {s: f"<{name}> " for s, name in zip(speakers, names, strict=True)}


def one_line(text: str) -> str:
    return " ".join(text.split())


def passages(lines: Iterable[str]) -> Iterator[Document]:
    """Cut a text, given as its lines with their ends, into passages; a short one stays as it is.

    Only a passage at a time is in memory, however long the text is.
    """
    rest = iter(lines)
    begun: list[str] = []
    size = 0
    for line in rest:
        begun.append(line)
        size += len(line)
        if size > PASSAGE_CHARACTERS:
            break
    if size <= PASSAGE_CHARACTERS:
        found: Iterable[str] = ["".join(begun)]
    else:
        found = _joined(_pieces(chain(begun, rest)))
    yield from (Document(text) for text in found if text.strip())


def cut(document: Document) -> Iterator[Document]:
    """Yield a document's passages, none if it is empty; a conversation stays whole."""
    if document.turns:
        yield document
    else:
        yield from passages(StringIO(document.text, newline="\n"))


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    """Yield paragraphs, without the empty lines between them, in pieces of at most PASSAGE_CHARACTERS."""
    paragraph = ""
    for number, line in enumerate(lines):
        if line == "\n" and number:
            if paragraph:
                yield paragraph
            paragraph = ""
            continue
        paragraph += line
        start = 0
        while len(paragraph) - start > PASSAGE_CHARACTERS:
            yield paragraph[start : start + PASSAGE_CHARACTERS]
            start += PASSAGE_CHARACTERS
        paragraph = paragraph[start:]
    if paragraph:
        yield paragraph


def _joined(pieces: Iterable[str]) -> Iterator[str]:
    passage = ""
    for piece in pieces:
        if passage and len(passage) + len(piece) >= PASSAGE_CHARACTERS:
            yield passage
            passage = ""
        passage += ("\n" if passage else "") + piece
    yield passage


def from_row(row: Any, field: str, where: str) -> Document:
    """Return the document in one row, in `messages`, `turns` or `field`, whichever it has first.

    It is a text, or a conversation: a list of {"role", "content"} as OpenAI has them, or of [speaker, text].
    Raises CorpusError naming `where`.
    """
    if not isinstance(row, dict):
        raise CorpusError(f"{where}: no field {field!r} in {type(row).__name__}", "a row is a JSON object")
    key = next((key for key in ("messages", "turns") if isinstance(row.get(key), list)), field)
    if key not in row:
        raise CorpusError(f"{where}: no field {field!r} in {', '.join(row)}", "set `field` of the source")
    value = row[key]
    if isinstance(value, str):
        return Document(value)
    if not isinstance(value, list):
        raise CorpusError(
            f"{where}: {key!r} is {type(value).__name__}, not text", "set `field` of the source"
        )
    try:
        return Document(turns=tuple(map(_turn, value)))
    except (KeyError, TypeError, ValueError) as error:
        raise CorpusError(
            f"{where}: {key!r} is no conversation: {type(error).__name__}: {error}",
            'each turn is {"role": "user", "content": "Hi"} or ["Ada", "Hi"]; leave out rows that are not',
        ) from error


def _turn(said: Any) -> Turn:
    if isinstance(said, str):
        raise TypeError(f"{said!r:.40} has no speaker")
    speaker, content = (said["role"], said["content"]) if isinstance(said, dict) else said
    if isinstance(content, list):  # OpenAI's parts of a message
        content = "\n".join(part["text"] for part in content if part["type"] == "text")
    if not isinstance(speaker, str) or not isinstance(content, str):
        raise TypeError(f"what {speaker!r} says is {type(content).__name__}")
    return Turn(speaker, content)


def import_named(name: str) -> Any:
    """Return what `module:function` names; modules in the current folder are found too, after all others.

    Raises UsageError if there is no such thing, or its module cannot be loaded.
    """
    module, _, function = name.partition(":")
    if not (module and function):
        raise UsageError(f"{name!r} is not module:function", "name both, such as my_texts:documents")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # last, so that no file here stands in for an installed package
    try:
        found = getattr(import_module(module), function, None)
    except Exception as error:  # whatever a person's own module does when it is loaded
        raise UsageError(
            f"{name} cannot be imported: {type(error).__name__}: {error}",
            f"put {module.replace('.', '/')}.py into the folder where you are, or install it",
        ) from error
    if found is None:
        raise UsageError(
            f"{name} cannot be imported: {module} has no {function!r}", "name a function that is there"
        )
    if not callable(found):
        raise UsageError(f"{name} is {type(found).__name__}, not a function", "name a function")
    return found
