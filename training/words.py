"""What an age said, fit for one line of a terminal."""

from __future__ import annotations

from selves.lineage import Age


def first_words(age: Age) -> str:
    """Return on one line how the age continued the text that all ages continue; "" if it wrote nothing."""
    for writing in age.writings():
        if writing.kind == "continuation":
            return " ".join((writing.utterance.prompt.text + writing.utterance.text).split())
    return ""


def printable(text: str) -> str:
    """Return the text with what a terminal cannot show, line breaks included, as spaces."""
    return "".join(c if c.isprintable() or c == " " else " " for c in text)
