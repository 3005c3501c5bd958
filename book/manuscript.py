"""The manuscript: a book as plain data, from which the PDF, the EPUB and the website are built.

It holds no markup and nothing that cannot be printed: characters that cannot be seen were written out when it
was composed. Each passage carries where it comes from, so that the built book can be checked against memory.
"""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from book.curve import Curve
from book.passage import Runs
from selves.errors import UsageError
from selves.speech import Frozen

MANUSCRIPT_FILE = "manuscript.json"
PICTURE = "portrait"
"""The kind of writing that may be drawn with letters."""


class Source(Frozen):
    """Where a passage comes from: enough to find it in memory, and for a self's to say it again."""

    number: int
    """Its place in the appendix, from 1, in the order of the book."""
    generation_id: int | None = None
    """None for what no self said."""
    message_id: int | None = None
    """None for a sample that was not posted."""
    address: str | None = None
    origin: str = "self"
    text_sha256: str
    """Of the whole text as it is stored: the message's if there is one, or else the sample's."""
    sample_sha256: str = ""
    """Of the sample as the engine gave it."""
    start: int = 0
    end: int
    """Which of the stored characters are printed."""
    length: int
    """How many characters are stored."""
    edited: bool = False
    """Whether the author changed the words; `original` of the passage has them as they were."""
    drawn: int = 0
    """How many samples were drawn for its turn, itself too; 0 for what no self said."""
    copied: float | None = None
    """Share of its runs of 40 characters that stand in the texts it was compared with; None if it was not."""
    weights_sha256: str = ""
    engine: str = ""
    engine_version: str = ""
    sampling: dict[str, Any] = Field(default_factory=dict)
    prompt_sha256: str = ""
    prompt_from: tuple[int, ...] = ()
    """The messages that were in the prompt."""
    finish_reason: str = ""
    said_at: str = ""
    """ISO 8601, UTC."""

    @property
    def excerpt(self) -> bool:
        """Whether more than white space was left out."""
        return not self.edited and self.end - self.start < self.length


class Passage(Frozen):
    """One stretch of words that is printed, and where it comes from."""

    label: str
    """What it is: `diary`, `letter to the future`, `continuation`, or the name of who said it."""
    given: Runs = ("",)
    """What stood on the page before the self went on, or what it was asked."""
    asked: bool = False
    """Whether `given` was a question to it, not the beginning of its own text."""
    text: Runs
    original: Runs | None = None
    """Of an edited passage: what was said."""
    note: Runs | None = None
    """What the author says about it."""
    model_characters: int = 0
    """How many of the printed characters a self wrote."""
    source: Source

    @property
    def picture(self) -> bool:
        """Whether its lines and spaces must stand as they do: a portrait may be drawn with letters."""
        return self.label.startswith(PICTURE)

    @property
    def characters(self) -> int:
        """How many are printed; one that cannot be seen counts once, however its name is written out."""
        return sum(map(len, self.text[::2])) + len(self.text[1::2])


class Prose(Frozen):
    """The author's own words; blank lines part paragraphs."""

    kind: Literal["prose"] = "prose"
    text: Runs


class Alone(Frozen):
    """One passage."""

    kind: Literal["passage"] = "passage"
    passage: Passage


class Facsimile(Frozen):
    """A passage with the other samples of its turn, which were not chosen."""

    kind: Literal["facsimile"] = "facsimile"
    passage: Passage
    siblings: tuple[Passage, ...]


class Columns(Frozen):
    """What several ages made of the same words."""

    kind: Literal["columns"] = "columns"
    given: Runs
    passages: tuple[Passage, ...]


class Played(Frozen):
    """A conversation, a letter, or a day in a diary."""

    kind: Literal["scene"] = "scene"
    title: Runs
    letter: bool = False
    entry: bool = False
    """A day, a week or a chapter in a diary: one voice, line after line."""
    premise: Runs = ("",)
    date: str = ""
    speakers: tuple[tuple[str, str], ...] = ()
    """Name and address of each self, in the order they spoke."""
    lines: tuple[Passage, ...]
    left_out: int = 0
    """Lines that may not be printed."""
    ending: str = ""


Item = Annotated[Prose | Alone | Facsimile | Columns | Played, Field(discriminator="kind")]


class Figures(Frozen):
    """What published texts of models should say of themselves (after janus)."""

    passages: int = 0
    model_characters: int = 0
    human_characters: int = 0
    contribution: float | None = None
    """The selves' share of the characters, 0 to 1."""
    generated: int = 0
    """Samples drawn for the turns that are printed."""
    published: int = 0
    """Samples that are printed."""
    selectivity_bits: float | None = None
    edited: int = 0
    """Passages the author changed."""


class Opener(Frozen):
    """How a chapter about an age begins."""

    address: str
    age: str
    stage: str
    step: int
    tokens_seen: int
    train_loss: float | None
    bits_per_byte: float | None
    parameters: int
    weights_sha256: str
    born: str
    """ISO 8601, UTC."""


class Chapter(Frozen):
    title: Runs
    opener: Opener | None = None
    items: tuple[Item, ...]
    figures: Figures


class Manuscript(Frozen):
    """A whole book."""

    version: Literal[1] = 1
    """Of the form of `manuscript.json`."""
    title: Runs
    subtitle: Runs
    author: Runs
    language: str
    """A BCP 47 tag such as `en`."""
    edition: str
    date: date
    lineage: str
    rule: Runs
    """How the author chose and edited, in their own words."""
    curve: Curve | None
    chapters: tuple[Chapter, ...]
    figures: Figures
    kept: int
    """How many samples of this lineage the house keeps."""

    @property
    def identifier(self) -> str:
        """A URN that is the same for the same book."""
        digest = hashlib.sha256(self.to_json().encode()).hexdigest()
        return f"urn:uuid:{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"

    def to_json(self) -> str:
        return self.model_dump_json(indent=1) + "\n"

    def passages(self) -> list[Passage]:
        """Every passage in the order of the book."""
        return [
            passage for chapter in self.chapters for item in chapter.items for passage in passages_of(item)
        ]


def passages_of(item: Item) -> tuple[Passage, ...]:
    """The passages of one item, in the order in which they are printed."""
    match item:
        case Prose():
            return ()
        case Alone():
            return (item.passage,)
        case Facsimile():
            return (item.passage, *item.siblings)
        case Columns():
            return item.passages
        case Played():
            return item.lines


def read_manuscript(path: Path) -> Manuscript:
    """Read a `manuscript.json`. Raises UsageError."""
    again = "make it anew with `selves book build`"
    try:
        return Manuscript.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", again) from error
    except ValidationError as error:
        raise UsageError(
            f"{path} is no manuscript of this version of Selves: {error.errors()[0]['msg']}", again
        ) from error
