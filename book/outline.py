"""The outline: the file in which an author says what their book is made of, with their own words between.

title = "Ember"
lineage = "ember"
date = 2026-11-23

[[chapter]]
title = "Before the first word"
age = "base-000000"

[[chapter.item]]
prose = "My own words. They are printed as they stand here."

[[chapter.item]]
sample = 17
siblings = true
"""

from __future__ import annotations

from datetime import date as Date
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from selves import config
from selves.lineage import LINEAGE_PATTERN
from selves.speech import Frozen

OUTLINE_FILE = "outline.toml"
Kind = Literal["prose", "sample", "message", "across", "scene"]
KINDS: tuple[Kind, ...] = ("prose", "sample", "message", "across", "scene")


class Piece(Frozen):
    """One thing in a chapter: exactly one of prose, sample, message, across or scene."""

    prose: str | None = None
    """Your own words. A blank line begins a new paragraph."""
    sample: int | None = Field(None, ge=1)
    """A text that a self wrote or said, by the number of its generation."""
    message: int | None = Field(None, ge=1)
    """A line of a conversation, by its number."""
    across: tuple[int, ...] | None = Field(None, min_length=2)
    """What several ages made of the same words, side by side: the numbers of their generations."""
    scene: int | None = Field(None, ge=1)
    """A conversation or a letter, by its number."""
    first: int | None = Field(None, ge=1)
    """Of a scene: the first line to print, counted within the scene."""
    last: int | None = Field(None, ge=1)
    """Of a scene: the last line to print."""
    siblings: bool = False
    """Print the other samples of the same turn too, which were not chosen."""
    quote: str | None = Field(None, min_length=1)
    """Print only these words of it; they must stand in it as they stand here."""
    edited: str | None = Field(None, min_length=1)
    """Print these words instead. The book marks them as edited, and its appendix has the original."""
    note: str | None = Field(None, min_length=1)
    """What you say about it; printed beneath."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Piece:
        said = [name for name in KINDS if getattr(self, name) is not None]
        if len(said) != 1:
            raise ValueError(f"an item is one of {', '.join(KINDS)}; this has {' and '.join(said) or 'none'}")
        single = self.kind in ("sample", "message")
        for name in ("quote", "edited", "note"):
            if getattr(self, name) is not None and not single:
                raise ValueError(f"{name!r} goes with a sample or a message, not with {self.kind!r}")
        if self.siblings and not single:
            raise ValueError(f"'siblings' goes with a sample or a message, not with {self.kind!r}")
        if self.quote is not None and self.edited is not None:
            raise ValueError("a passage is either quoted or edited, not both")
        if (self.first or self.last) and self.scene is None:
            raise ValueError("'first' and 'last' go with a scene")
        if self.first and self.last and self.first > self.last:
            raise ValueError(f"its first line is {self.first} and its last is {self.last}")
        return self

    @property
    def kind(self) -> Kind:
        return next(name for name in KINDS if getattr(self, name) is not None)


class ChapterPlan(Frozen):
    """One chapter."""

    title: str
    age: str | None = None
    """An age of the lineage, such as `base-000400`: the chapter opens with its figures and its curve."""
    item: tuple[Piece, ...] = ()
    """What is in it, in order."""


class Outline(Frozen):
    """A book as its author wants it."""

    title: str
    subtitle: str = ""
    author: str = ""
    language: str = Field("en", pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$")
    """Of your own words and the headings: a tag such as `en` or `pt-BR`."""
    lineage: str = Field(pattern=f"^{LINEAGE_PATTERN}$")
    edition: str = "1"
    date: Date
    """Printed in the book; nothing in it depends on the day it is built."""
    rule: str = ""
    """How you chose and what you changed, in your own words: `nothing was changed`, `in order of time`."""
    chapter: tuple[ChapterPlan, ...] = Field((), min_length=1)
    """The chapters, in order."""


def read_outline(path: Path) -> Outline:
    """Read an outline. Raises ConfigError naming the line that is wrong."""
    return config.load(path, Outline)
